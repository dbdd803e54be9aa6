"""The rules that a model gets at one press, on days that are whole and days that are not."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import Project
from driftline.base.periods import parse_timestamp
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Incident
from monitors.rules.defaults import add_default_rules, default_rules
from monitors.rules.models import Transition
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, give_reference, label, log, make_model, rows_of_a_day, truths, work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

OBJECTIVES = {
    "label_lag_hours": 2,
    "latency_p99_ms": 50,
    "quality": {"metric": "log_loss", "floor": 0.65},
}
DAYS, BROKEN_DAY = 5, 3


@pytest.fixture(scope="module")
def whole_days(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Model]:
    """A model with objectives, a reference and its default rules, after days that were whole; stored once."""
    with rows_of_many_tests(django_db_blocker):
        project = Project.objects.create(slug="bank", name="Bank")
        model = create_model(
            project=project, name="promising", task="binary", actor="test", objectives=OBJECTIVES
        )
        give_reference(model)
        add_default_rules(project=project, model=model, actor="test")
        for number in range(BROKEN_DAY):
            send_day(model, number)
        work(model)
        yield model


@pytest.fixture
def promising(whole_days: Model, db: None) -> Model:
    return Model.objects.get(pk=whole_days.pk)


def send_day(
    model: Model,
    number: int,
    *,
    broken: dict[str, object] | None = None,
    lag: timedelta = timedelta(hours=1),
    labelled: int = 300,
) -> None:
    """Send a day and the labels of its first rows, `lag` after these; `broken` overwrites features."""
    rows = rows_of_a_day(DAY + timedelta(days=number), 300)
    rows = [replace(row, features=row.features | (broken or {})) for row in rows]
    log(model, rows)
    labels = zip(truths(rows), rows[:labelled], strict=False)
    label(model, [replace(item, timestamp=parse_timestamp(row.timestamp) + lag) for item, row in labels])


def live(model: Model, **fault: Any) -> None:
    """Send two more days, the first with this fault, and all that follows from them."""
    send_day(model, BROKEN_DAY, **fault)
    work(model)
    send_day(model, BROKEN_DAY + 1)
    work(model)
    log(model, rows_of_a_day(DAY + timedelta(days=DAYS), 1))
    work(model)
    for transition in Transition.objects.filter(model=model).order_by("pk"):
        handle_transition(transition.pk)


def test_follow_from_the_objectives_and_come_once(promising: Model) -> None:
    plain = make_model(promising.project)
    thresholds = dict(promising.rules.values_list("metric", "threshold"))

    assert thresholds["latency_p99"] == 50
    assert thresholds["log_loss"] == 0.65
    assert thresholds["label_lag_p95"] == 7_200
    assert promising.rules.get(metric="log_loss").operator == "above"
    assert {fields["metric"] for fields in default_rules(plain)} == {
        "faulty_features", "drifted_features", "drift_evidence", "silence", "error_rate", "performance_evidence",
    }  # fmt: skip
    assert add_default_rules(project=promising.project, model=promising, actor="test") == []


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
    assert incident.title == f"promising: {feature} fails quality checks"
    assert (incident.causes[0]["kind"], incident.causes[0]["feature"]) == ("fault", feature)


def test_labels_that_come_late_are_said_to_be_late(promising: Model) -> None:
    live(promising, lag=timedelta(hours=20))

    incident = Incident.objects.get()
    assert incident.rule.name == "Labels delayed"
    assert incident.causes[0]["kind"] == "labels"
    assert incident.causes[0]["evidence"] == (
        "label lag of 8 Jan up to 20 h (95th percentile), objective 2 h"
    )


def test_labels_that_stay_away_are_missed(promising: Model) -> None:
    send_day(promising, BROKEN_DAY, labelled=30)
    send_day(promising, BROKEN_DAY + 1)
    work(promising)

    [transition] = Transition.objects.filter(model=promising, kind="opened")
    assert transition.rule.name == "Labels missing"
    assert transition.detail["causes"][0]["evidence"] == "label coverage of 8 Jan 10%, usually 100%"
