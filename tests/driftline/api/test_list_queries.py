"""Lists run as many queries for six objects as for two."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from driftline.accounts.models import AuditEntry, User
from inference.prediction_log.erasure.services import request_erasure
from inference.prediction_log.imports.models import Import
from inference.prediction_log.ingest.store import log_predictions
from inference.prediction_log.rows.sent_columns import PredictionBatch, columns_of
from inference.registry.models import Alias, Version
from inference.registry.services import create_model
from inference.runtime.variants.kinds import KINDS
from monitors.alerts.models import Channel, Delivery, DeliveryAttempt, Incident, Silence
from monitors.definitions.models import Expectation, FeatureProfile, Reference, Segment, SegmentFeature
from monitors.metrics.models import ChangePoint, MetricPoint, SegmentSearch
from monitors.optimiser.models import Variant
from monitors.reports.models import Report
from monitors.rules.models import Rule, RuleState, Transition
from monitors.workflows.models import Run, Step
from tests.driftline.api.conftest import Api
from tests.driftline.api.described import description
from tests.worlds.every_kind import DAY, NOW, World, furnish, prediction

type Add = Callable[[World, int], Any]


def add_model(world: World, n: int) -> None:
    model = create_model(project=world.model.project, name=f"model-{n}", task="binary", actor="test")
    SegmentFeature.objects.create(model=model, feature="a")
    model.deployment.champion = Version.objects.create(model=model, version="1")
    model.deployment.save()


def add_version(world: World, n: int) -> Version:
    version = Version.objects.create(model=world.model, version=f"v{n}")
    Alias.objects.create(model=world.model, name=f"alias-{n}", version=version)
    return version


def add_variant(world: World, n: int) -> None:
    Variant.objects.create(
        version=world.version, kind=list(KINDS)[n % len(KINDS)] if n < len(KINDS) else f"old-{n}", generation=1,
        status="gain", reason="Faster.", machine="none", registered=add_version(world, n),
    )  # fmt: skip


def add_feature(world: World, n: int) -> None:
    FeatureProfile.objects.create(model=world.model, feature=f"feature-{n}", centre=0.0)
    Expectation.objects.create(model=world.model, feature=f"feature-{n}", least=0.0)


def add_import(world: World, n: int) -> None:
    Import.objects.create(
        model=world.model, kind="labels", file_name=f"{n}.csv", path=f"imports/{n}", is_upload=True, state="done",
        sha256=str(n) * 64, size=9, format="csv", layout={}, total=9, created_by="test",
    )  # fmt: skip


def add_segment(world: World, n: int) -> None:
    Segment.objects.create(
        model=world.model, name=f"segment-{n}", conditions=[{"feature": "a", "value": str(n)}], since=NOW
    )


def add_point(world: World, n: int) -> None:
    MetricPoint.objects.create(
        model=world.model, role="champion", span="day", start=NOW - n * DAY, end=NOW - (n - 1) * DAY, metric="psi",
        feature="b", value=0.1, n=1, status="ok", detail={"why": "calibrated"},
    )  # fmt: skip


def add_change(world: World, n: int) -> None:
    ChangePoint.objects.create(
        model=world.model, role="champion", version="1", span="day", detector="adwin", error="mae", at=NOW - n * DAY,
        noticed_at=NOW, before=1.0, after=2.0, n_before=9, n_after=3,
    )  # fmt: skip


def add_search(world: World, n: int) -> None:
    SegmentSearch.objects.create(
        model=world.model, start=NOW - n * DAY, end=NOW, loss="brier", requested_by="test"
    )


def add_rule(world: World, n: int) -> Rule:
    rule = Rule.objects.create(
        project=world.model.project, model=world.model, name=f"rule-{n}", metric="f1", threshold=0.5, cooldown=DAY,
        notify_within=DAY,
    )  # fmt: skip
    RuleState.objects.create(rule=rule)
    return rule


def add_transition(world: World, n: int) -> Transition:
    return Transition.objects.create(
        rule=add_rule(world, n), model=world.model, kind="opened", window_start=NOW - DAY, window_end=NOW, n=1,
        threshold=0.5,
    )  # fmt: skip


def add_run(world: World, n: int) -> Run:
    run = Run.objects.create(
        model=world.model, transition=add_transition(world, n), trigger="test", data_until=NOW, state="promoted",
        champion=world.version, challenger=add_version(world, n),
    )  # fmt: skip
    Step.objects.create(run=run, position=0, name="train")
    Step.objects.create(run=run, position=1, name="gate")
    return run


def add_incident(world: World, n: int) -> Incident:
    transition = add_run(world, n).transition
    assert transition is not None
    return Incident.objects.create(
        project=world.model.project, model=world.model, rule=transition.rule, opened_by=transition, title="Worse",
        severity="warning", opened_at=NOW, acknowledged_by=User.objects.create_user(f"user-{n}@example.com"),
    )  # fmt: skip


def add_channel(world: World, n: int) -> Channel:
    return Channel.objects.create(
        project=world.model.project, kind="email", name=f"mail-{n}", target="a@example.com"
    )


def add_silence(world: World, n: int) -> None:
    Silence.objects.create(
        project=world.model.project, model=world.model, start=NOW, end=NOW + n * DAY, reason="works",
        created_by="test",
    )  # fmt: skip


def add_delivery(world: World, n: int) -> None:
    delivery = Delivery.objects.create(
        channel=add_channel(world, n), incident=add_incident(world, n), event="incident.opened",
        event_id=f"evt_{n}", body="text",
    )  # fmt: skip
    DeliveryAttempt.objects.create(delivery=delivery, succeeded=False, duration_ms=1)


def add_report(world: World, n: int) -> None:
    reference = Reference.objects.create(
        model=world.model, version=add_version(world, n), kind="trailing", length=14
    )
    Report.objects.create(
        model=world.model, start=NOW - DAY, end=NOW, created_by="test", version=reference.version, reference=reference
    )  # fmt: skip


def add_erasure(world: World, n: int) -> None:
    request_erasure(project=world.model.project, key=f"person-{n}", actor="test")


def add_audit_entry(world: World, n: int) -> None:
    AuditEntry.objects.create(project=world.model.project, actor="test", action="test", subject=str(n))


LISTS: dict[str, tuple[str, Add]] = {
    "/models": ("", add_model),
    "/models/{name}/versions": ("", add_version),
    "/models/{name}/aliases": ("", add_version),
    "/models/{name}/versions/{version}/variants": ("", add_variant),
    "/models/{name}/schema": ("", add_feature),
    "/models/{name}/imports": ("", add_import),
    "/models/{name}/segments": ("", add_segment),
    "/models/{name}/metrics": ("?metric=psi&feature=b", add_point),
    "/models/{name}/change-points": ("", add_change),
    "/models/{name}/segment-searches": ("", add_search),
    "/models/{name}/runs": ("", add_run),
    "/models/{name}/reports": ("", add_report),
    "/rules": ("", add_rule),
    "/incidents": ("", add_incident),
    "/channels": ("", add_channel),
    "/silences": ("", add_silence),
    "/deliveries": ("", add_delivery),
    "/erasures": ("", add_erasure),
    "/audit": ("?action=test", add_audit_entry),
}
PREDICTIONS = "/models/{name}/predictions"
OF_ARRAYS = {"/models/{name}/drift", "/models/{name}/losses"}
"""Their items are computed from a summary, or from logged rows that are read at once."""


@pytest.fixture
def world(api: Api) -> World:
    return furnish(api.project)


def queries_of(api: Api, path: str) -> tuple[int, int]:
    """Count the queries that a list runs, without those that authenticate its caller, and the objects that it has."""
    with CaptureQueriesContext(connection) as queries:
        answer = api.get(path)
    asked = [query for query in queries.captured_queries if '"accounts_apitoken"' not in query["sql"]]
    return len(asked), len(answer.json()["items"])


@pytest.mark.parametrize("path", LISTS)
def test_a_list_runs_as_many_queries_for_six_objects_as_for_two(path: str, api: Api, world: World) -> None:
    query, add = LISTS[path]
    url = path.format(name=world.model.name, version=world.version.version) + query
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


def test_every_list_is_among_these() -> None:
    lists = {
        path.removeprefix("/api/v1")
        for path, methods in description()["paths"].items()
        if "get" in methods and is_list(methods["get"]) and not path.endswith("_id}")
    }

    assert lists == LISTS.keys() | OF_ARRAYS | {PREDICTIONS}


def is_list(operation: Any) -> bool:
    schemas = description()["components"]["schemas"]
    content = operation["responses"]["200"]["content"].get("application/json", {"schema": {}})
    kinds = content["schema"].get("anyOf", [content["schema"]])
    names = [kind["$ref"].rsplit("/", 1)[1] for kind in kinds if "$ref" in kind]
    return any("items" in schemas[name].get("properties", ()) for name in names)
