"""The body that registers an endpoint: where another server is, what it calls the model, and who asks."""

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints

from driftline.base.errors import invalid
from driftline.base.http.bodies import Body
from driftline.base.outbound.targets import check_target
from driftline.base.strict_json import escape_pointer
from inference.protocol.v2.tensors import NUMPY_TYPES
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


class TensorIn(Body):
    """A tensor as our callers know it; `upstream` is the other server's name for it, where that differs."""

    name: Name
    datatype: str
    shape: list[Annotated[int, Field(ge=-1, le=1_000_000)]] = Field(min_length=1, max_length=8)
    upstream: Name | None = None


class EndpointIn(Body):
    """Another server. `token` is sent as a bearer token, `headers` as they are; neither is ever shown again.

    `inputs` and `outputs` are taken from the server where it gives them, from the model's champion where they are
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
    inputs: list[TensorIn] = Field([], max_length=MAX_TENSORS)
    outputs: list[TensorIn] = Field([], max_length=MAX_TENSORS)


class RemoteVersionIn(Body):
    """The body that makes a version of an endpoint; `metadata` and `lineage` are those of an upload."""

    endpoint: EndpointIn
    metadata: dict[str, Any] = {}
    lineage: dict[str, Any] = {}
    version: str | None = Field(None, max_length=64)


def plan_of(body: EndpointIn) -> EndpointSpec:
    """Return the endpoint without its credential; raises Problem where its URL must not be called."""
    target = check_target(body.url, "/endpoint/url")
    parts = urlsplit(target.url)
    if parts.query or parts.fragment:
        raise invalid("/endpoint/url", "The URL has a query or fragment; give the server's address alone.")
    _check_tensors(body)
    return EndpointSpec(
        protocol=body.protocol,
        url=target.url.rstrip("/"),
        model=body.model,
        version=body.version,
        names={tensor.name: tensor.upstream for tensor in [*body.inputs, *body.outputs] if tensor.upstream},
        max_rows=body.max_rows,
        timeout_ms=body.timeout_ms,
    )


def _check_tensors(body: EndpointIn) -> None:
    for side in ("inputs", "outputs"):
        seen: set[str] = set()
        for place, tensor in enumerate(getattr(body, side)):
            if tensor.datatype not in (*NUMPY_TYPES, "BYTES"):
                raise invalid(
                    f"/endpoint/{side}/{place}/datatype",
                    f"{tensor.datatype[:20]!r} is no datatype of V2; use one such as FP32, INT64 or BYTES.",
                )
            if tensor.name in seen:
                raise invalid(f"/endpoint/{side}/{place}/name", f"{tensor.name[:64]!r} is named twice.")
            seen.add(tensor.name)


def specs_of(tensors: list[TensorIn]) -> list[TensorSpec]:
    """Return tensors as a signature has them."""
    return [TensorSpec(tensor.name, tensor.datatype, tensor.shape) for tensor in tensors]


def headers_of(body: EndpointIn) -> dict[str, str]:
    """Return the headers that prove who asks; raises Problem at one that cannot be sent."""
    headers: dict[str, str] = {}
    for name, value in body.headers.items():
        pointer = f"/endpoint/headers/{escape_pointer(name)}"
        if not _NAME.fullmatch(name) or name.lower() in OURS:
            raise invalid(
                pointer, f"{name[:64]!r} is no header that can be chosen; use one such as X-Api-Key."
            )
        if not _VALUE.fullmatch(value):
            raise invalid(pointer, "A header's value has 1 to 4,096 printable characters of Latin-1.")
        headers[name] = value
    if body.token is None:
        return headers
    if not _VALUE.fullmatch(body.token):
        raise invalid("/endpoint/token", "A token has 1 to 4,096 printable characters.")
    if any(name.lower() == "authorization" for name in headers):
        raise invalid("/endpoint/token", "The headers hold Authorization already; send one of the two.")
    return headers | {"Authorization": f"Bearer {body.token}"}
