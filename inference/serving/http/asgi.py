"""The inference routes as an ASGI application in front of another: metadata, health, and what falls through
from the server's protocol (an inference request behind an unfinished answer, or with Expect: 100-continue)."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any

from inference.protocol.dialect import Headers, HttpBody, HttpDialect
from inference.protocol.dialect_list import find_dialect
from inference.protocol.v2.open_inference import OPEN_INFERENCE
from inference.serving.callers import LACKS_CERTIFICATE, InferenceCaller
from inference.serving.descriptions.metadata import describe
from inference.serving.descriptions.repository import control
from inference.serving.descriptions.statistics import asks_statistics, statistics
from inference.serving.descriptions.v1_metadata import PING_PATH, V1_PATH, answer_ping, describe_v1
from inference.serving.engine.engine import Engine
from inference.serving.engine.inbound import Inbound
from inference.serving.http.compression import choose_coding, in_turn, pack, unpack
from inference.serving.http.headers import RequestHeaders, read_headers
from inference.serving.http.incoming_body import TOO_LONG, IncomingBody
from inference.serving.jobs.api import JOBS_PATH, Accepted, JobApi, ResponsePreference
from inference.serving.refusals import Refusal
from inference.serving.responses import Answer, field_pairs, write_answer
from inference.serving.routing import Admission, project_id_of

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
type Ask[Result] = Callable[[Admission | Refusal | None, Inbound[bytes, HttpBody]], Awaitable[Result]]


def wrap(application: App | None, engine: Engine, jobs: JobApi) -> App:
    """Put the inference routes in front of an application; without one, other paths are not found."""

    async def answer_or_pass(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        if scope["type"] != "http":
            if application is None:
                raise RuntimeError(f"no application for {scope['type']}")  # uvicorn then goes on without it
            await application(scope, receive, send)
        elif (dialect := find_dialect(_path_of(scope))) is not None:
            await send_answer(await _answer_inference(engine, jobs, dialect, scope, receive), scope, send)
        elif path.startswith(JOBS_PATH):
            await send_answer(await _answer_job(jobs, path, scope), scope, send)
        elif path in (PING_PATH, V1_PATH) or path.startswith(f"{V1_PATH}/"):
            await send_answer(_answer_v1(engine, path, scope), scope, send)
        elif path == "/v2" or path.startswith("/v2/"):
            await send_answer(_open_inference(await answer(engine, scope, receive)), scope, send)
        elif application is not None:
            await application(scope, receive, send)
        else:
            nothing = Refusal(404, "There is nothing at this path; inference is at /v2.")
            await send_answer(_open_inference(nothing), scope, send)

    return answer_or_pass


async def _answer_inference(
    engine: Engine, jobs: JobApi, dialect: HttpDialect, scope: Scope, receive: Receive
) -> Answer:
    if scope["method"] not in dialect.methods:
        return write_answer(dialect, _method_not_allowed(scope["method"], ", ".join(dialect.methods)))
    headers = read_headers(scope["headers"])
    path, caller = _path_of(scope), _caller_of(scope, headers)
    preference = ResponsePreference.read(headers.relevant)
    if preference.preferences.respond_async:
        accept = partial(jobs.accept, preference)
        kept = await predict(engine, dialect, path, caller, headers, receive, accept)
        if isinstance(kept, Accepted):
            return await _compress(await jobs.answer_within(preference, kept), headers.relevant)
        return write_answer(dialect, kept)
    if preference.callback is not None:
        alone = Refusal(400, "Driftline-Callback is for jobs; send 'Prefer: respond-async' beside it.")
        return write_answer(dialect, alone)
    result = await predict(engine, dialect, path, caller, headers, receive, engine.ask)
    return await _compress(write_answer(dialect, result), headers.relevant)


def _answer_v1(engine: Engine, path: str, scope: Scope) -> Answer:
    """Return what TensorFlow Serving, KServe V1, TorchServe and MLflow tell without a request."""
    if scope["method"] not in ("GET", "HEAD"):
        if ":" in path:
            return _open_inference(
                Refusal(404, "There is nothing at this path; post to /v1/models/{model}:predict.")
            )
        return _open_inference(_method_not_allowed(scope["method"], "GET"))
    if path == PING_PATH:
        return answer_ping(is_ready=engine.is_ready)
    caller = _caller_of(scope, read_headers(scope["headers"]))
    return _open_inference(describe_v1(engine.table, path, caller))


async def _answer_job(jobs: JobApi, path: str, scope: Scope) -> Answer:
    headers = read_headers(scope["headers"])
    result = await jobs.answer(scope["method"], path, _caller_of(scope, headers))
    return await _compress(_open_inference(result), headers.relevant)


async def _compress(answer: Answer, headers: Headers) -> Answer:
    coding = choose_coding(answer, headers.get(b"accept-encoding"))
    return answer if coding is None else await asyncio.wrap_future(in_turn(pack, answer, coding))


async def predict[Result](
    engine: Engine,
    dialect: HttpDialect,
    path: bytes,
    caller: InferenceCaller,
    headers: RequestHeaders,
    receive: Receive,
    ask: Ask[Result],
) -> Result | Refusal:
    """Read the body of an inference request and `ask` for its answer."""
    if headers.is_too_long:
        return TOO_LONG
    admission = engine.admit(dialect, caller, path)
    if isinstance(admission, Refusal):  # nobody reads a body for whoever is refused in any case
        return await ask(admission, Inbound(dialect, caller, path, b"", headers.relevant))
    incoming = IncomingBody(engine.bodies, project_id_of(admission))
    try:
        body = await _read_body(receive, incoming)
        coding = headers.relevant.get(b"content-encoding")
        if isinstance(body, bytes) and coding is not None:
            body = incoming.check_unpacked(await asyncio.wrap_future(in_turn(unpack, coding, body)))
        if isinstance(body, Refusal):
            return body
        inbound = Inbound(dialect, caller, path, body, headers.relevant)
        return await ask(admission, inbound)
    finally:
        incoming.release()


def _caller_of(scope: Scope, headers: RequestHeaders) -> InferenceCaller:
    peer = scope.get("client")
    return InferenceCaller(
        headers.authorization,
        peer[0] if peer else "",
        headers.forwarded_for,
        scope.get(LACKS_CERTIFICATE, False),
    )


def _path_of(scope: Scope) -> bytes:
    path: str = scope["path"]
    return path.encode("utf-8", "surrogateescape")


async def _read_body(receive: Receive, incoming: IncomingBody) -> bytes | Refusal:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return Refusal(400, "The body did not arrive whole; send it again.")
        if (refusal := incoming.add(message.get("body", b""))) is not None:
            return refusal
        if not message.get("more_body", False):
            return incoming.join()


async def answer(engine: Engine, scope: Scope, receive: Receive) -> Answer | Refusal:
    """Answer a request below /v2 that is not one for inference."""
    path = scope["path"].rstrip("/")
    caller = _caller_of(scope, read_headers(scope["headers"]))
    if path.startswith("/v2/repository/"):
        if scope["method"] != "POST":
            return _method_not_allowed(scope["method"], "POST")
        incoming = IncomingBody(engine.bodies, 0)
        try:
            body = await _read_body(receive, incoming)
        finally:
            incoming.release()
        return body if isinstance(body, Refusal) else control(engine.table, path, caller, body)
    if asks_statistics(path):
        result = await asyncio.to_thread(statistics, engine.home, engine.table, path, caller)
    else:
        result = describe(engine.table, path, caller, is_ready=engine.is_ready)
    if scope["method"] in ("GET", "HEAD") or (isinstance(result, Refusal) and result.status == 404):
        return result
    return _method_not_allowed(scope["method"], "GET")


def _open_inference(result: Answer | Refusal) -> Answer:
    return write_answer(OPEN_INFERENCE, result) if isinstance(result, Refusal) else result


def _method_not_allowed(method: str, allowed: str) -> Refusal:
    return Refusal(
        405, f"{method[:16]} is not offered here; use {allowed}.", b"allow: %b\r\n" % allowed.encode()
    )


async def send_answer(answer: Answer, scope: Scope, send: Send) -> None:
    """Send an answer through ASGI."""
    headers = [
        (b"content-length", str(len(answer.body)).encode()),
        *field_pairs(answer.fields),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})
