"""The inference routes as an ASGI application in front of another: metadata, health, and what falls through
from the server's protocol (an inference request behind an unfinished answer, or with Expect: 100-continue)."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from inference.protocol.open_inference import model_metadata, server_metadata
from inference.serving.answers import Answer, refusal
from inference.serving.engine import Engine
from inference.serving.http import MAX_BODY_BYTES, refuse_special, too_long
from inference.serving.plan import PlanModel
from inference.serving.routing import RoutingTable, Target, parse_path

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def wrap(application: App | None, engine: Engine) -> App:
    """Put the inference routes in front of an application; without one, other paths are not found."""

    async def answer_or_pass(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        if scope["type"] == "http" and (path == "/v2" or path.startswith("/v2/")):
            await send_answer(await answer(engine, scope, receive), scope, send)
        elif application is not None:
            await application(scope, receive, send)
        elif scope["type"] == "http":
            await send_answer(
                refusal(404, "There is nothing at this path; inference is at /v2."), scope, send
            )
        else:
            raise RuntimeError(f"no application for {scope['type']}")  # uvicorn then goes on without it

    return answer_or_pass


async def answer(engine: Engine, scope: Scope, receive: Receive) -> Answer:
    """Answer any request below /v2."""
    path = scope["path"].rstrip("/")
    method = scope["method"]
    if path.endswith("/infer"):
        if method != "POST":
            return _method_not_allowed(method, "POST")
        return await predict(engine, scope, receive)
    if method not in ("GET", "HEAD"):
        return _method_not_allowed(method, "GET")
    return describe(engine.table, path, _header(scope, b"authorization"), is_ready=engine.is_ready)


async def predict(engine: Engine, scope: Scope, receive: Receive) -> Answer:
    """Answer one inference request."""
    length = _header(scope, b"content-length")
    if length.isdigit() and int(length[:13]) > MAX_BODY_BYTES:
        return refusal(413, too_long(MAX_BODY_BYTES))
    for name in (b"content-encoding", b"inference-header-content-length"):
        if _header(scope, name):
            return refuse_special(name)
    authorization = _header(scope, b"authorization")
    path = scope["path"].encode("utf-8", "surrogateescape")
    admission = engine.admit(authorization, path)
    body = await _read_body(receive)
    if isinstance(body, Answer):
        return body
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def reply(answer: Answer) -> None:
        if not answered.done():  # the client may have gone
            answered.set_result(answer)

    engine.submit(admission, authorization, path, body, reply)
    return await answered


async def _read_body(receive: Receive) -> bytes | Answer:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return refusal(400, "The body did not arrive whole; send it again.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            return refusal(413, too_long(MAX_BODY_BYTES))
        if not message.get("more_body", False):
            return b"".join(parts)


def describe(table: RoutingTable, path: str, authorization: bytes, *, is_ready: bool) -> Answer:
    """Answer a GET: health is open to all, the rest to holders of a token."""
    if path == "/v2/health/live":
        return _json(200, {"live": True})
    if path == "/v2/health/ready":
        return _json(200 if is_ready else 503, {"ready": is_ready})
    token = table.authenticate(authorization, "infer", "read")
    if isinstance(token, Answer):
        return token
    if path == "/v2":
        return _json(200, server_metadata(_server_version()))
    if path == "/v2/models":
        return _json(200, {"models": [model.name for model in table.models_of(token.project_id)]})
    asks_ready = path.endswith("/ready")
    target = parse_path(path.removesuffix("/ready").encode("utf-8", "surrogateescape"))
    if target is None:
        return refusal(404, "There is nothing at this path; see /v2/models.")
    model = table.find_model(token.project_id, target.model)
    if isinstance(model, Answer):
        return model
    return _describe_readiness(table, model, target) if asks_ready else _describe_model(model, target)


def _describe_readiness(table: RoutingTable, model: PlanModel, target: Target) -> Answer:
    name = target.version or model.champion
    version = model.find(name) if name is not None else None
    if target.version is not None and version is None:
        return refusal(404, f"Model '{model.name}' has no servable version '{target.version[:64]}'.")
    is_ready = version is not None and version.id in table.loaded
    return _json(200 if is_ready else 503, {"name": model.name, "ready": is_ready})


def _describe_model(model: PlanModel, target: Target) -> Answer:
    name = target.version or model.champion
    version = model.find(name) if name is not None else None
    if version is None and target.version is None:
        return refusal(409, f"Model '{model.name}' has no champion (no_champion); promote a version first.")
    if version is None:
        return refusal(404, f"Model '{model.name}' has no servable version '{name}'.")
    names = (
        [candidate.version for candidate in model.versions] if target.version is None else [version.version]
    )
    return _json(200, model_metadata(model.name, names, version.signature))


def _json(status: int, value: object) -> Answer:
    return Answer(status, msgspec.json.encode(value))


def _method_not_allowed(method: str, allowed: str) -> Answer:
    return refusal(
        405, f"{method[:16]} is not offered here; use {allowed}.", b"allow: %b\r\n" % allowed.encode()
    )


def _header(scope: Scope, wanted: bytes) -> bytes:
    found: bytes = next((value for name, value in scope["headers"] if name == wanted), b"")
    return found


def _server_version() -> str:
    try:
        return version("driftline")
    except PackageNotFoundError:
        return "0"


async def send_answer(answer: Answer, scope: Scope, send: Send) -> None:
    """Send an answer through ASGI."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(answer.body)).encode()),
        *answer.field_pairs(),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})
