"""What V2 tells of the server and of models: health, metadata and configuration."""

from importlib.metadata import PackageNotFoundError, version

import msgspec

from driftline.base.accounts.access.scopes import Scope
from inference.protocol.dialect import Target
from inference.protocol.v2.open_inference import (
    model_configuration,
    model_metadata,
    parse_model_path,
    server_metadata,
)
from inference.serving.callers import InferenceCaller
from inference.serving.plan import PlanModel, PlanVersion
from inference.serving.refusals import Refusal
from inference.serving.responses import Answer
from inference.serving.routing import RoutingTable, find_version


def describe(table: RoutingTable, path: str, caller: InferenceCaller, *, is_ready: bool) -> Answer | Refusal:
    """Answer a GET: health is open to all, the rest to holders of a token."""
    if path == "/v2/health/live":
        return json_answer({"live": True})
    if path == "/v2/health/ready":
        return json_answer({"ready": is_ready}, 200 if is_ready else 503)
    token = table.authenticate(caller, Scope.INFER, Scope.READ)
    if isinstance(token, Refusal):
        return token
    if path == "/v2":
        return json_answer(server_metadata(_server_version()))
    if path == "/v2/models":
        return json_answer({"models": [model.name for model in table.models_of(token.project_id)]})
    path, asks = _split_question(path)
    target = parse_model_path(path.encode("utf-8", "surrogateescape"))
    if target is None:
        return Refusal(404, "There is nothing at this path; see /v2/models.")
    model = table.find_model(token.project_id, target.model)
    if isinstance(model, Refusal):
        return model
    if asks == "ready":
        return _describe_readiness(table, model, target)
    version = find_version(model, target.version) if target.version else find_champion(model)
    if isinstance(version, Refusal):
        return version
    if asks == "config":
        return json_answer(model_configuration(model.name, version.version, version.signature))
    names = [version.version] if target.version else [candidate.version for candidate in model.versions]
    return json_answer(model_metadata(model.name, names, version.signature))


def _split_question(path: str) -> tuple[str, str]:
    """Part a model's path from what is asked about it."""
    for asks in ("ready", "config"):
        if path.endswith(f"/{asks}") and path.count("/") in (4, 6):
            return path.removesuffix(f"/{asks}"), asks
    return path, ""


def _describe_readiness(table: RoutingTable, model: PlanModel, target: Target) -> Answer | Refusal:
    """Return whether the champion, or the version asked for, would answer now, and if not why."""
    if target.version is None:
        is_ready = table.champion(model.id) is not None
        reason = table.stale_models.get(model.id, "It has no champion.")
    else:
        version = find_version(model, target.version)
        if isinstance(version, Refusal):
            return version
        is_ready = version.id in table.loaded
        reason = table.failed.get(version.id, "It is loaded with the first request for it.")
    if is_ready:
        return json_answer({"name": model.name, "ready": True})
    return json_answer({"name": model.name, "ready": False, "reason": reason}, 503)


def find_champion(model: PlanModel) -> PlanVersion | Refusal:
    """Find the version that answers for a model."""
    if model.champion is None:
        return Refusal(409, f"Model '{model.name}' has no champion (no_champion); promote a version first.")
    return find_version(model, model.champion)


def json_answer(value: object, status: int = 200) -> Answer:
    """Answer with a JSON document."""
    return Answer(status, msgspec.json.encode(value))


def _server_version() -> str:
    try:
        return version("driftline")
    except PackageNotFoundError:
        return "0"
