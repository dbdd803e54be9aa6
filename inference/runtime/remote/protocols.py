"""The protocols in which other servers can be asked, by the names that callers use."""

from typing import Protocol

from inference.runtime.remote.connections import UpstreamReply
from inference.runtime.remote.torchserve import TorchServeProtocol
from inference.runtime.remote.v1 import V1Protocol
from inference.runtime.remote.v2 import V2Protocol
from inference.runtime.session import Array
from inference.signatures import EndpointSpec, TensorSpec


class RemoteProtocol(Protocol):
    """Writes the requests of one model and reads its answers."""

    path: str

    def write(self, batch: dict[str, Array]) -> tuple[bytes, dict[str, str]]: ...

    def read(self, reply: UpstreamReply, rows: int) -> list[Array]: ...

    def describe(self, reply: UpstreamReply, rows: int) -> list[TensorSpec]: ...


class _Kind(Protocol):
    def __call__(
        self, endpoint: EndpointSpec, inputs: list[TensorSpec], outputs: list[TensorSpec]
    ) -> RemoteProtocol: ...


PROTOCOLS: dict[str, _Kind] = {"v2": V2Protocol, "v1": V1Protocol, "torchserve": TorchServeProtocol}
"""Triton, KServe, MLServer and Driftline; TensorFlow Serving and KServe V1; TorchServe."""
