"""What a caller tells of another server: where it is, what it calls the model, and how to prove who asks."""

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints

from driftline.common.bodies import Body
from driftline.common.errors import invalid
from driftline.common.outbound.targets import check_target
from driftline.common.strict_json import escape_pointer
from inference.protocol.tensors import NUMPY_TYPES
from inference.signatures import EndpointSpec, TensorSpec

MAX_ROWS = 1024
MAX_CALL_MS = 30_000
MAX_TENSORS = 1_000
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_VALUE = re.compile(r"[\x20-\x7e\xa0-\xff]{1,4096}")
OURS = {
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "inference-header-content-length",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
}
"""Headers that belong to the call itself."""

type Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class ToldTensor(Body):
    """A tensor as our callers know it; `upstream` is the other server's name for it, where that differs."""

    name: Name
    datatype: str
    shape: list[Annotated[int, Field(ge=-1, le=1_000_000)]] = Field(min_length=1, max_length=8)
    upstream: Name | None = None


class ToldEndpoint(Body):
    """Another server. `token` is sent as a bearer token, `headers` as they are; neither is ever shown again.

    `inputs` and `outputs` are taken from the server where it tells them, from the model's champion where they are
    the same, or from an answer.
    """

    protocol: Literal["v2", "v1", "torchserve"]
    url: str = Field(max_length=500)
    model: Name
    version: Name | None = None
    token: str | None = Field(None, min_length=1, max_length=4096)
    headers: dict[str, str] = Field({}, max_length=20)
    max_rows: int = Field(MAX_ROWS, ge=1, le=MAX_ROWS)
    timeout_ms: int = Field(10_000, ge=1, le=MAX_CALL_MS)
    inputs: list[ToldTensor] = Field([], max_length=MAX_TENSORS)
    outputs: list[ToldTensor] = Field([], max_length=MAX_TENSORS)


class RemoteVersion(Body):
    """The body that makes a version of an endpoint; `metadata` and `lineage` are those of an upload."""

    endpoint: ToldEndpoint
    metadata: dict[str, Any] = {}
    lineage: dict[str, Any] = {}
    version: str | None = Field(None, max_length=64)


def plan_of(told: ToldEndpoint) -> EndpointSpec:
    """Give the endpoint without its credential; raises Problem where its URL must not be called."""
    target = check_target(told.url, "/endpoint/url")
    parts = urlsplit(target.url)
    if parts.query or parts.fragment:
        raise invalid("/endpoint/url", "The URL has a query or fragment; give the server's address alone.")
    _check_tensors(told)
    return EndpointSpec(
        protocol=told.protocol,
        url=target.url.rstrip("/"),
        model=told.model,
        version=told.version,
        names={tensor.name: tensor.upstream for tensor in [*told.inputs, *told.outputs] if tensor.upstream},
        max_rows=told.max_rows,
        timeout_ms=told.timeout_ms,
    )


def _check_tensors(told: ToldEndpoint) -> None:
    for side in ("inputs", "outputs"):
        seen: set[str] = set()
        for place, tensor in enumerate(getattr(told, side)):
            if tensor.datatype not in (*NUMPY_TYPES, "BYTES"):
                raise invalid(
                    f"/endpoint/{side}/{place}/datatype",
                    f"{tensor.datatype[:20]!r} is no datatype of V2; use one such as FP32, INT64 or BYTES.",
                )
            if tensor.name in seen:
                raise invalid(f"/endpoint/{side}/{place}/name", f"{tensor.name[:64]!r} is named twice.")
            seen.add(tensor.name)


def specs_of(tensors: list[ToldTensor]) -> list[TensorSpec]:
    """Give tensors as a signature has them."""
    return [TensorSpec(tensor.name, tensor.datatype, tensor.shape) for tensor in tensors]


def headers_of(told: ToldEndpoint) -> dict[str, str]:
    """Give the headers that prove who asks; raises Problem at one that cannot be sent."""
    headers: dict[str, str] = {}
    for name, value in told.headers.items():
        pointer = f"/endpoint/headers/{escape_pointer(name)}"
        if not _NAME.fullmatch(name) or name.lower() in OURS:
            raise invalid(
                pointer, f"{name[:64]!r} is no header that can be chosen; use one such as X-Api-Key."
            )
        if not _VALUE.fullmatch(value):
            raise invalid(pointer, "A header's value has 1 to 4,096 printable characters of Latin-1.")
        headers[name] = value
    if told.token is None:
        return headers
    if not _VALUE.fullmatch(told.token):
        raise invalid("/endpoint/token", "A token has 1 to 4,096 printable characters.")
    if any(name.lower() == "authorization" for name in headers):
        raise invalid("/endpoint/token", "The headers hold Authorization already; send one of the two.")
    return headers | {"Authorization": f"Bearer {told.token}"}
