"""Lists run as many queries for six objects as for two."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from inference.prediction_log.ingest.store import log_predictions
from inference.prediction_log.rows.sent_columns import PredictionBatch, columns_of
from inference.registry.services import create_model
from tests.driftline.api.conftest import Api
from tests.driftline.api.described import description
from tests.driftline.api.listed_objects import (
    add_annotation,
    add_audit_entry,
    add_change,
    add_channel,
    add_custom_metric,
    add_dataset,
    add_dead_letter,
    add_delivery,
    add_device,
    add_erasure,
    add_event,
    add_feature,
    add_file,
    add_group,
    add_import,
    add_imported_model,
    add_incident,
    add_invitation,
    add_lake_file,
    add_member,
    add_mlflow_version,
    add_model,
    add_point,
    add_position,
    add_pull,
    add_reference,
    add_registry_import,
    add_release,
    add_report,
    add_role,
    add_rule,
    add_run,
    add_search,
    add_segment,
    add_silence,
    add_source,
    add_team,
    add_token,
    add_variant,
    add_version,
)
from tests.worlds.every_kind import NOW, World, furnish, prediction

type Add = Callable[[World, int], Any]


LISTS: dict[str, tuple[str, Add]] = {
    "/models": ("", add_model),
    "/models/{name}/versions": ("", add_version),
    "/models/{name}/aliases": ("", add_version),
    "/models/{name}/versions/{version}/variants": ("", add_variant),
    "/models/{name}/schema": ("", add_feature),
    "/models/{name}/imports": ("", add_import),
    "/models/{name}/files": ("", add_file),
    "/models/{name}/references": ("", add_reference),
    "/models/{name}/datasets": ("", add_dataset),
    "/models/{name}/segments": ("", add_segment),
    "/models/{name}/custom-metrics": ("", add_custom_metric),
    "/models/{name}/annotations": ("", add_annotation),
    "/models/{name}/metrics": ("?metric=psi&feature=b", add_point),
    "/models/{name}/change-points": ("", add_change),
    "/models/{name}/segment-searches": ("", add_search),
    "/models/{name}/runs": ("", add_run),
    "/models/{name}/mlflow/versions": ("", add_mlflow_version),
    "/models/{name}/pulls": ("", add_pull),
    "/models/{name}/reports": ("", add_report),
    "/mlflow-imports": ("", add_registry_import),
    "/mlflow-imports/{registry_import_id}/models": ("", add_imported_model),
    "/devices": ("", add_device),
    "/device-groups": ("", add_group),
    "/device-groups/{group_id}/releases": ("", add_release),
    "/rules": ("", add_rule),
    "/incidents": ("", add_incident),
    "/lake/files": ("", add_lake_file),
    "/sources": ("", add_source),
    "/sources/{name}/positions": ("", add_position),
    "/sources/{name}/dead-letters": ("", add_dead_letter),
    "/channels": ("", add_channel),
    "/silences": ("", add_silence),
    "/deliveries": ("", add_delivery),
    "/erasures": ("", add_erasure),
    "/roles": ("", add_role),
    "/teams": ("", add_team),
    "/tokens": ("", add_token),
    "/members": ("", add_member),
    "/invitations": ("", add_invitation),
    "/audit": ("?action=test", add_audit_entry),
    "/events": ("?kind=run.cancelled", add_event),
}
PREDICTIONS = "/models/{name}/predictions"
OF_FOUR = {"/models/{name}/monitors"}
"""A model has one of each kind."""
OF_ONE = {"/projects"}
"""A token has one project."""
OF_THE_CODE = {"/metrics"}
"""No object of the database is in it."""
OF_ARRAYS = {"/models/{name}/drift", "/models/{name}/losses", "/models/{name}/changed-examples"}
"""Their items are computed from a summary, or from logged rows that are read at once."""


@pytest.fixture(scope="module")
def stored_world(shared_api: Api) -> World:
    return furnish(shared_api.project)


@pytest.fixture
def world(stored_world: World, db: None) -> World:
    return deepcopy(stored_world)


@pytest.fixture
def api(shared_api: Api, db: None) -> Api:
    return shared_api


def queries_of(api: Api, path: str) -> tuple[int, int]:
    """Count the queries that a list runs, without those that authenticate its caller, and the objects that it has."""
    with CaptureQueriesContext(connection) as queries:
        answer = api.get(path)
    asked = [query for query in queries.captured_queries if '"accounts_apitoken"' not in query["sql"]]
    return len(asked), len(answer.json()["items"])


@pytest.mark.parametrize("path", LISTS)
def test_a_list_runs_as_many_queries_for_six_objects_as_for_two(path: str, api: Api, world: World) -> None:
    query, add = LISTS[path]
    places = {
        "name": world.model.name,
        "version": world.version.version,
        "registry_import_id": world.registry_import.pk,
        "group_id": world.device.group_id,
    }
    url = path.format(**places) + query
    before = queries_of(api, url)[1]

    for n in range(1, 3):
        add(world, n)
    for_two, few = queries_of(api, url)
    for n in range(3, 7):
        add(world, n)
    for_six, many = queries_of(api, url)

    assert (few - before, many - before) == (2, 6)
    assert for_six == for_two


def test_predictions_that_came_together_are_read_together(api: Api) -> None:
    def queries_of_list_of(rows: int) -> tuple[int, int]:
        model = create_model(project=api.project, name=f"of-{rows}", task="binary", actor="test")
        items = columns_of([prediction(f"p{n}") for n in range(rows)], task=model.task)
        log_predictions(model=model, batch=PredictionBatch(items), now=NOW)
        return queries_of(api, PREDICTIONS.format(name=model.name))

    for_two, two = queries_of_list_of(2)
    for_six, six = queries_of_list_of(6)

    assert (two, six) == (2, 6)
    assert for_six == for_two


@pytest.mark.slow
def test_every_list_is_among_these() -> None:
    lists = {
        path.removeprefix("/api/v1")
        for path, methods in description()["paths"].items()
        if "get" in methods and is_list(methods["get"]) and not path.endswith("_id}")
    }

    assert lists == LISTS.keys() | OF_ARRAYS | OF_FOUR | OF_ONE | OF_THE_CODE | {PREDICTIONS}


def is_list(operation: Any) -> bool:
    schemas = description()["components"]["schemas"]
    content = operation["responses"]["200"]["content"].get("application/json", {"schema": {}})
    kinds = content["schema"].get("anyOf", [content["schema"]])
    names = [kind["$ref"].rsplit("/", 1)[1] for kind in kinds if "$ref" in kind]
    return any("items" in schemas[name].get("properties", ()) for name in names)
