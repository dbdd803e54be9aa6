"""What the methods of every gRPC protocol share: reading a call, refusing it, and letting the engine answer it."""

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from inference.protocol.dialect import TRACEPARENT, Dialect, Headers
from inference.protocol.header_facts import FACT_HEADERS
from inference.protocol.v2.open_inference_grpc import TIMEOUT
from inference.serving.callers import InferenceCaller
from inference.serving.engine.engine import Engine
from inference.serving.engine.inbound import Inbound
from inference.serving.refusals import Refusal
from inference.serving.responses import Prediction, field_pairs
from inference.serving.routing import project_id_of

Context = grpc.aio.ServicerContext[Any, Any]

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
    508: grpc.StatusCode.FAILED_PRECONDITION,
}


def unary(request: type[Message], answer: Callable[[Any, Context], Awaitable[Message]]) -> Any:
    """Make the handler of a method; what is no message is refused here, because gRPC would call it our fault."""

    async def read_and_answer(content: bytes, context: Context) -> bytes:
        try:
            message = request.FromString(content)
        except DecodeError:
            sentence = f"The message cannot be read; send a {request.DESCRIPTOR.full_name}."
            await refuse(context, Refusal(400, sentence))
        return (await answer(message, context)).SerializeToString()

    return grpc.unary_unary_rpc_method_handler(read_and_answer)


def not_offered(method: str) -> Any:
    """Make the handler of a method that we do not offer."""

    async def say_so(_requests: Any, context: Context) -> None:
        await refuse(context, Refusal(501, f"The method '{method[:64]}' is not offered by this server."))

    return grpc.stream_stream_rpc_method_handler(say_so)


async def ask_engine[Asked: Message, Content](
    engine: Engine, dialect: Dialect[Asked, Content], path: bytes, message: Asked, context: Context
) -> Prediction[Content]:
    """Ask the engine to answer a request, and send what belongs to the answer as metadata."""
    caller = caller_of(context)
    admission = engine.admit(dialect, caller, path)
    inbound = Inbound(dialect, caller, path, message, _headers(context))
    hold = engine.bodies.hold(project_id_of(admission))
    try:
        result = await engine.ask(hold.take(message.ByteSize()) or admission, inbound)
    finally:
        hold.release()
    if isinstance(result, Refusal):
        await refuse(context, result)
    context.set_trailing_metadata(_metadata(result.fields))
    return result


def caller_of(context: Context) -> InferenceCaller:
    """Read who calls; HTTP lets spaces stand before a value, and callers take theirs along to here."""
    lines: dict[str, list[bytes]] = {"authorization": [], "x-forwarded-for": []}
    for name, value in context.invocation_metadata() or ():
        if name in lines:
            lines[name].append((value if isinstance(value, bytes) else value.encode()).strip())
    authorization = lines["authorization"][:1]
    return InferenceCaller(
        b"".join(authorization), address_of_peer(context.peer()), b", ".join(lines["x-forwarded-for"])
    )


def address_of_peer(peer: str) -> str:
    """Return the address in gRPC's name of a connection, such as ipv4:192.0.2.1:4711 or ipv6:%5B2001:db8::1%5D:4711.

    Empty for a connection without one.
    """
    kind, _, place = unquote(peer).partition(":")
    return place.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else ""


def _headers(context: Context) -> Headers:
    """Return the metadata that a dialect may ask for, and the time that the call has left."""
    headers: dict[bytes, bytes] = {}
    for key, value in context.invocation_metadata() or ():
        name = key.encode()
        if name in FACT_HEADERS or name == TRACEPARENT:
            headers[name] = value if isinstance(value, bytes) else value.encode()
    seconds = context.time_remaining()
    if seconds is not None:
        headers[TIMEOUT] = b"%du" % max(int(seconds * 1e6), 1)
    return headers


def _metadata(fields: bytes) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode(), value.decode()) for name, value in field_pairs(fields))


async def refuse(context: Context, refusal: Refusal) -> NoReturn:
    """End a call without an answer."""
    code = CODES.get(refusal.status, grpc.StatusCode.INTERNAL)
    await context.abort(code, refusal.sentence, _metadata(refusal.fields))
