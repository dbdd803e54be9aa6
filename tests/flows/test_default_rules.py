"""The rules that a model gets at one press, on days that are whole and days that are not."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from driftline.accounts.models import Project
from driftline.common.periods import parse_timestamp
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.alerts.models import Incident
from monitors.alerts.services import handle_transition
from monitors.rules.defaults import add_default_rules, default_rules
from monitors.rules.models import Transition
from tests.worlds.approvals import DAY, give_reference, label, log, rows_of_a_day, truths, work

OBJECTIVES = {
    "label_lag_hours": 2,
    "latency_p99_ms": 50,
    "quality": {"metric": "log_loss", "floor": 0.65},
}
DAYS, BROKEN_DAY = 5, 3


@pytest.fixture
def promising(project: Project, home: object) -> Model:
    """A model with objectives, a reference and its default rules."""
    model = create_model(
        project=project, name="promising", task="binary", actor="test", objectives=OBJECTIVES
    )
    give_reference(model)
    add_default_rules(project=project, model=model, actor="test")
    return model


def live(
    model: Model, *, broken: dict[str, object] | None = None, lag: timedelta = timedelta(hours=1)
) -> None:
    """Send five days with their labels; the fourth has features overwritten, and labels that are `lag` late."""
    for number in range(DAYS):
        rows = rows_of_a_day(DAY + timedelta(days=number), 300)
        is_broken = number == BROKEN_DAY
        if is_broken and broken:
            rows = [replace(row, features=row.features | broken) for row in rows]
        log(model, rows)
        summaries_of(model, rows, lag if is_broken else timedelta(hours=1))
        work(model)
    log(model, rows_of_a_day(DAY + timedelta(days=DAYS), 1))
    work(model)
    for transition in Transition.objects.filter(model=model).order_by("pk"):
        handle_transition(transition.pk)


def summaries_of(model: Model, rows: list[SentPrediction], lag: timedelta) -> None:
    labels = zip(truths(rows), rows, strict=True)
    label(model, [replace(item, timestamp=parse_timestamp(row.timestamp) + lag) for item, row in labels])


def test_follow_from_the_objectives_and_come_once(promising: Model, model: Model, project: Project) -> None:
    thresholds = dict(promising.rules.values_list("metric", "threshold"))

    assert thresholds["latency_p99"] == 50
    assert thresholds["log_loss"] == 0.65
    assert thresholds["label_lag_p95"] == 7_200
    assert promising.rules.get(metric="log_loss").operator == "above"
    assert {fields["metric"] for fields in default_rules(model)} == {
        "faulty_features", "drifted_features", "volume_ratio", "error_rate",
    }  # fmt: skip
    assert add_default_rules(project=project, model=promising, actor="test") == []


def test_say_nothing_of_days_that_are_whole(promising: Model) -> None:
    live(promising)

    assert not Incident.objects.exists()


@pytest.mark.parametrize(
    ("broken", "feature"),
    [({"region": None}, "region"), ({"region": "atlantis"}, "region"), ({"income": 5_000.0}, "income")],
    ids=["emptied", "new category", "another unit"],
)
def test_a_broken_input_opens_one_incident_that_names_it_first(
    promising: Model, broken: dict[str, object], feature: str
) -> None:
    live(promising, broken=broken)

    incident = Incident.objects.get()
    assert incident.title == f"promising: Features with faults ({feature}) 1 above 0"
    assert (incident.causes[0]["kind"], incident.causes[0]["feature"]) == ("fault", feature)


def test_labels_that_come_late_are_said_to_be_late(promising: Model) -> None:
    live(promising, lag=timedelta(hours=20))

    incident = Incident.objects.get()
    assert incident.rule.name == "Labels come late"
    assert incident.causes[0]["kind"] == "labels"
    assert incident.causes[0]["evidence"] == (
        "labels of 8 Jan came after up to 20 h (95th percentile), beyond 2 h"
    )


def test_labels_that_stay_away_are_missed(promising: Model) -> None:
    for number in range(DAYS):
        rows = rows_of_a_day(DAY + timedelta(days=number), 300)
        log(promising, rows)
        summaries_of(promising, rows[: 30 if number == BROKEN_DAY else 300], timedelta(hours=1))
    work(promising)

    [transition] = Transition.objects.filter(model=promising, kind="opened")
    assert transition.rule.name == "Labels stay away"
    assert (
        transition.detail["causes"][0]["evidence"] == "labels of 10% of the rows of 8 Jan came, usually 100%"
    )
