"""What still fires in its newest judged window is notified, however old the first one is."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from driftline.base.accounts.models import Project
from driftline.base.work.task_queue import Task
from driftline.base.work.work_rows import touch
from inference.registry.models import Model
from monitors.alerts import silences
from monitors.alerts.incidents import handling
from monitors.alerts.models import Channel, Delivery, Incident
from monitors.alerts.wording import moment
from monitors.metrics.store.models import MetricPoint, PendingEvaluation
from monitors.metrics.store.storing import save_points
from monitors.rules import services as rules
from monitors.rules.judging import judge
from monitors.rules.models import Rule, Transition
from monitors.summaries.services import summarise
from tests.worlds.approvals import log, make_model, rows_of_a_day

pytestmark = pytest.mark.slow

ONE_DAY = timedelta(days=1)
LIMIT, GOOD = 0.8, 0.9


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> None:
    settings.HOME = tmp_path


@pytest.fixture
def today(now: datetime) -> datetime:
    return datetime(now.year, now.month, now.day, tzinfo=UTC)


@pytest.fixture
def model(project: Project) -> Model:
    return make_model(project)


@pytest.fixture
def rule(model: Model) -> Rule:
    return rules.create_rule(
        project=model.project, model=model, actor="test", name="ranks badly", metric="roc_auc",
        operator="below", threshold=LIMIT, cooldown=30 * ONE_DAY, notify_within=ONE_DAY, recover_windows=2,
    )  # fmt: skip


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Task, dict[str, Any]]]:
    """What judging asks workers for."""
    asked: list[tuple[Task, dict[str, Any]]] = []
    monkeypatch.setattr(judge, "enqueue", lambda task, **arguments: asked.append((task, arguments)))
    return asked


def measured(model: Model, values: Sequence[float], *, last: datetime) -> None:
    """Measure a value of each day up to `last`, and let a row of the day after end that one."""
    days = [last - (len(values) - 1 - place) * ONE_DAY for place in range(len(values))]
    save_points(
        [
            MetricPoint(
                model=model, role="champion", span="day", start=day, end=day + ONE_DAY, metric="roc_auc",
                value=value, n=300, status="ok",
            )
            for day, value in zip(days, values, strict=True)
        ]
    )  # fmt: skip
    log(model, rows_of_a_day(last + ONE_DAY, 1))
    while summarise(model.pk):
        pass
    touch(PendingEvaluation, [(model.pk,)], fields=("model_id",))
    judge.judge(model.pk)


def handle_all(model: Model) -> None:
    for transition in Transition.objects.filter(model=model).order_by("pk"):
        handling.handle_transition(transition.pk)


def sent() -> list[tuple[str, str]]:
    return list(Delivery.objects.order_by("pk").values_list("event", "state"))


@pytest.mark.usefixtures("rule", "email")
class TestAnImport:
    def test_with_broken_last_days_is_notified_with_the_newest_value_and_the_onset(
        self, model: Model, today: datetime
    ) -> None:
        measured(model, [GOOD, 0.7, 0.6, 0.5], last=today - ONE_DAY)

        handle_all(model)

        assert sent() == [("incident.opened", "pending")]
        mail = Delivery.objects.get().body
        assert f"is 0.5, below 0.8, on 300 rows between {moment(today - ONE_DAY)}" in mail
        assert f"Since: {moment(today - 3 * ONE_DAY)}\nDetected: {moment(today - 2 * ONE_DAY)}\n" in mail

    def test_that_recovered_long_ago_stays_quiet(self, model: Model, today: datetime) -> None:
        measured(model, [0.7, 0.6, GOOD, GOOD, GOOD, GOOD], last=today - ONE_DAY)

        handle_all(model)

        assert Incident.objects.get().status == "resolved"
        assert sent() == [("incident.opened", "suppressed"), ("incident.resolved", "suppressed")]

    def test_that_fires_no_more_but_has_not_recovered_stays_quiet(
        self, model: Model, today: datetime
    ) -> None:
        Rule.objects.update(recover_windows=5)
        measured(model, [0.7, 0.6, GOOD, GOOD], last=today - ONE_DAY)

        handle_all(model)

        assert sent() == [("incident.opened", "suppressed")]

    def test_is_silenced_by_the_newest_window(self, model: Model, project: Project, today: datetime) -> None:
        silences.create_silence(
            project=project, model=model, start=today - ONE_DAY, end=today, reason="stock-taking", actor="ada"
        )  # fmt: skip
        measured(model, [0.7, 0.6, 0.5], last=today - ONE_DAY)

        handle_all(model)

        assert sent() == [("incident.opened", "suppressed")]

    def test_names_causes_as_they_are_in_the_window_that_it_speaks_of(
        self, model: Model, today: datetime
    ) -> None:
        save_points(
            [
                MetricPoint(
                    model=model, role="champion", span="day", start=today - days * ONE_DAY,
                    end=today - (days - 1) * ONE_DAY, metric="missing_share", feature="income", value=share,
                    n=300, threshold=0.01, status="critical",
                )
                for days, share in ((2, 0.175), (1, 0.227))
            ]
        )  # fmt: skip
        measured(model, [0.7, 0.5], last=today - ONE_DAY)

        handle_all(model)

        mail = Delivery.objects.get().body
        assert "missing values in income: 22.7% of rows" in mail
        assert "17.5%" not in mail


class TestARuleThatGoesOnFiring:
    def test_is_notified_once_its_newest_window_is_news(
        self, model: Model, rule: Rule, email: Channel, today: datetime, queued: list[Any]
    ) -> None:
        measured(model, [0.7, 0.6], last=today - 4 * ONE_DAY)
        handle_all(model)
        assert sent() == [("incident.opened", "suppressed")]
        queued.clear()

        measured(model, [0.55, 0.5], last=today - ONE_DAY)
        [(_, arguments)] = [one for one in queued if one[0] == Task.ALERT]
        for _ in range(2):
            handling.handle_transition(arguments["transition_id"])

        assert rule.transitions.count() == 1  # its cooldown lasts
        assert sent() == [("incident.opened", "suppressed"), ("incident.opened", "pending")]
        assert "is 0.5, below 0.8" in Delivery.objects.get(state="pending").body
