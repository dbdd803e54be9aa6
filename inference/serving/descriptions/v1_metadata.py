"""What the protocols of version 1 tell of the server and of models: ping, the models, their status and metadata."""

from driftline.base.accounts.access.scopes import Scope
from inference.protocol.dialect import Target
from inference.protocol.tensorflow.tensorflow_rest import (
    VersionStatus,
    model_metadata,
    model_status,
    parse_v1_path,
)
from inference.serving.callers import InferenceCaller
from inference.serving.descriptions.metadata import find_champion, json_answer
from inference.serving.plan import PlanModel, PlanVersion
from inference.serving.refusals import Refusal
from inference.serving.responses import Answer
from inference.serving.routing import RoutingTable, find_version, version_name

PING_PATH = "/ping"
V1_PATH = "/v1/models"
METADATA = "/metadata"


def answer_ping(*, is_ready: bool) -> Answer:
    """Return whether the server answers, as TorchServe does; MLflow's clients read the status alone."""
    return json_answer({"status": "Healthy" if is_ready else "Unhealthy"}, 200 if is_ready else 503)


def describe_v1(table: RoutingTable, path: str, caller: InferenceCaller) -> Answer | Refusal:
    """Answer a GET of TensorFlow Serving or KServe V1 for the holder of a token."""
    token = table.authenticate(caller, Scope.INFER, Scope.READ)
    if isinstance(token, Refusal):
        return token
    if path.rstrip("/") == V1_PATH:
        return json_answer({"models": [model.name for model in table.models_of(token.project_id)]})
    wants_metadata = path.endswith(METADATA) and path.count("/") in (4, 6)
    target = parse_v1_path(
        path.removesuffix(METADATA if wants_metadata else "").encode("utf-8", "surrogateescape")
    )
    if target is None:
        return Refusal(404, "There is nothing at this path; see /v1/models.")
    find = _find_metadata if wants_metadata else _find_status
    return find(table, token.project_id, target)


def _find_status(table: RoutingTable, project_id: int, target: Target) -> Answer | Refusal:
    listed = find_statuses(table, project_id, target)
    if isinstance(listed, Refusal):
        return listed
    model, statuses = listed
    if target.version is None and target.label is None:
        is_ready = table.champion(model.id) is not None
    else:
        is_ready = all(status.state == "AVAILABLE" for status in statuses)
    return json_answer(model_status(model.name, statuses, is_ready=is_ready))


def _find_metadata(table: RoutingTable, project_id: int, target: Target) -> Answer | Refusal:
    described = find_described(table, project_id, target)
    if isinstance(described, Refusal):
        return described
    model, version = described
    return json_answer(model_metadata(model.name, version.version, version.signature))


def find_statuses(
    table: RoutingTable, project_id: int, target: Target
) -> tuple[PlanModel, list[VersionStatus]] | Refusal:
    """Return of the versions of a model, or of the one that is named, whether they answer."""
    named = _find_named(table, project_id, target)
    if isinstance(named, Refusal):
        return named
    model, version = named
    return model, [_status(table, listed) for listed in (model.versions if version is None else [version])]


def _status(table: RoutingTable, version: PlanVersion) -> VersionStatus:
    """Describe a version: START says that it is loaded with the first request for it."""
    if version.id in table.failed:
        return VersionStatus(version.version, "END", table.failed[version.id])
    return VersionStatus(version.version, "AVAILABLE" if version.id in table.loaded else "START")


def find_described(
    table: RoutingTable, project_id: int, target: Target
) -> tuple[PlanModel, PlanVersion] | Refusal:
    """Find the version that is named, or the champion."""
    named = _find_named(table, project_id, target)
    if isinstance(named, Refusal):
        return named
    model, version = named
    if version is None:
        champion = find_champion(model)
        return champion if isinstance(champion, Refusal) else (model, champion)
    return model, version


def _find_named(
    table: RoutingTable, project_id: int, target: Target
) -> tuple[PlanModel, PlanVersion | None] | Refusal:
    """Find a model, and the version of it that is named."""
    model = table.find_model(project_id, target.model)
    if isinstance(model, Refusal):
        return model
    name = version_name(model, target)
    version = find_version(model, name) if isinstance(name, str) else name
    return version if isinstance(version, Refusal) else (model, version)
