"""A request as it came off the wire, and what its dialect reads in it."""

import time
from typing import Any

import msgspec
from msgspec import Struct

from inference.protocol.dialect import Dialect, Headers, InferRequest
from inference.protocol.hops import HOPS, read_hops
from inference.protocol.v2.tensors import InvalidRequest
from inference.serving.callers import InferenceCaller
from inference.serving.refusals import Refusal
from inference.serving.routing import Admission, Route, RoutingTable


class Inbound[Body, Content](Struct):
    """A request as it came off the wire, with the dialect that can read it; `received_ns` is monotonic."""

    dialect: Dialect[Body, Content]
    caller: InferenceCaller
    path: bytes
    body: Body
    headers: Headers
    received_ns: int = msgspec.field(default_factory=time.perf_counter_ns)


def admit(inbound: Inbound[Any, Any], table: RoutingTable) -> Admission | Refusal:
    """Find the caller's route in a table, or the reason to refuse; raises NotLoaded for a version to load first."""
    return table.admit(inbound.dialect, inbound.caller, inbound.path)


def decode[Body, Content](route: Route, inbound: Inbound[Body, Content]) -> InferRequest | Refusal:
    """Read a request with the codec of its dialect, or refuse it for what it says."""
    try:
        request = route.version.codecs[inbound.dialect].decode(inbound.body, inbound.headers)
        if HOPS in inbound.headers:
            request.hops = read_hops(inbound.headers)
    except InvalidRequest as error:
        return Refusal(error.status, str(error), route.fields)
    return request
