"""The model repository extension. Deployments decide what is loaded, so it lists and cannot change."""

from typing import Any

import msgspec

from driftline.base.accounts.access.scopes import Scope
from driftline.base.errors import UNREADABLE
from inference.serving.callers import InferenceCaller
from inference.serving.descriptions.metadata import json_answer
from inference.serving.plan import PlanModel, PlanVersion
from inference.serving.refusals import Refusal
from inference.serving.responses import Answer
from inference.serving.routing import RoutingTable

MODELS = "/v2/repository/models/"


class IndexRequest(msgspec.Struct):
    """What a caller may say of the index it wants."""

    ready: bool = False


def control(table: RoutingTable, path: str, caller: InferenceCaller, body: bytes) -> Answer | Refusal:
    """Answer a POST below /v2/repository for the holder of a token."""
    token = table.authenticate(caller, Scope.INFER, Scope.READ)
    if isinstance(token, Refusal):
        return token
    if path == "/v2/repository/index":
        return _list(table, token.project_id, body)
    name, _, verb = path.removeprefix(MODELS).rpartition("/")
    if not path.startswith(MODELS) or verb not in ("load", "unload"):
        return Refusal(404, "There is nothing at this path; post to /v2/repository/index.")
    model = table.find_model(token.project_id, name)
    if isinstance(model, Refusal):
        return model
    return _load(table, model, body) if verb == "load" else _unload(model)


def _list(table: RoutingTable, project_id: int, body: bytes) -> Answer | Refusal:
    """List the versions of a project; an empty body asks for all, loaded or not."""
    try:
        wanted = msgspec.json.decode(body, type=IndexRequest) if body.strip() else IndexRequest()
    except UNREADABLE:
        return Refusal(400, 'The body is not an index request; send {"ready": true}, or nothing at all.')
    entries = [
        {"name": model.name, "version": version.version, **_state(table, version)}
        for model in table.models_of(project_id)
        for version in model.versions
    ]
    return json_answer([entry for entry in entries if not wanted.ready or entry["state"] == "READY"])


def _state(table: RoutingTable, version: PlanVersion) -> dict[str, str]:
    if version.id in table.loaded:
        return {"state": "READY", "reason": ""}
    reason = table.failed.get(version.id, "It is loaded with the first request for it.")
    return {"state": "UNAVAILABLE", "reason": reason}


def _load(table: RoutingTable, model: PlanModel, body: bytes) -> Answer | Refusal:
    """Answer that a model is loaded, where it is: nothing is left to do."""
    champion = model.find(model.champion) if model.champion is not None else None
    if champion is not None and champion.id in table.loaded and not _has_parameters(body):
        return json_answer({})
    return Refusal(
        501,
        f"Model '{model.name}' cannot be loaded here: a deployment decides what is loaded, and how. Promote a "
        f"version with POST /api/v1/models/{model.name}/promote.",
    )


def _has_parameters(body: bytes) -> bool:
    """Return whether a load request asks for a configuration or for files of its own."""
    try:
        document: Any = msgspec.json.decode(body) if body.strip() else {}
    except UNREADABLE:
        return True
    return not isinstance(document, dict) or bool(document.get("parameters"))


def _unload(model: PlanModel) -> Refusal:
    return Refusal(
        501,
        f"Model '{model.name}' cannot be unloaded here: what its deployment names stays in memory. Change it "
        f"with PATCH /api/v1/models/{model.name}/deployment.",
    )
