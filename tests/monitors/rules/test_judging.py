"""Which points a rule judges, what an incident of it says of them, and what holds a rule up."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from driftline.base.accounts.models import Project
from driftline.base.work.work_rows import touch
from driftline.web.pages.queries import newest_of
from inference.prediction_log.models import TouchedPeriod
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.alerts.story import worst_value
from monitors.definitions.segments import set_segments
from monitors.metrics.store.models import MetricPoint, PendingEvaluation
from monitors.metrics.store.storing import save_points
from monitors.rules.judging.judge import backtest, judge
from monitors.rules.judging.reach import Reach, not_tested_because
from monitors.rules.judging.states import explain_state
from monitors.rules.judging.windows import gather
from monitors.rules.models import Rule, Transition
from tests.monitors.rules.stored_points import ONE_DAY, incident_of, point, watch
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day, work

KINDS = [("day", ""), ("hour", ""), ("week", ""), ("7d", ""), ("day", "region:north")]
"""Span and segment of rules."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> None:
    settings.HOME = tmp_path


@pytest.fixture
def model(db: None) -> Model:
    return make_model(Project.objects.create(slug="bank", name="Bank"))


def proven(model: Model, value: float, *, day: int) -> MetricPoint:
    """A point of few rows with an interval that lies below 0.8 as a whole, be it twice as long."""
    return point(model, value, day=day, n=40, lower=value - 0.05, upper=value + 0.05, status="warning")


class TestAnIncident:
    @pytest.mark.slow
    def test_was_at_its_worst_in_a_window_of_few_rows_that_proved_the_breach(self, model: Model) -> None:
        watch(model)

        incident = incident_of(
            model, point(model, 0.7), proven(model, 0.5, day=1), point(model, 0.2, day=2, n=40),
            point(model, 0.75, day=3),
        )  # fmt: skip

        assert worst_value(incident, until=DAY + 20 * ONE_DAY) == 0.5  # that of day 2 may be chance

    def test_says_the_newest_value_that_its_rule_judges(self, model: Model) -> None:
        watch(model)

        incident = incident_of(
            model, point(model, 0.7), proven(model, 0.5, day=1), point(model, 0.6, day=2, n=40)
        )

        newest = newest_of(incident)
        assert newest is not None
        assert newest.value == 0.5

    def test_of_which_the_rule_judges_months_by_now_began_where_its_days_did(self) -> None:
        last_of_january = datetime(2026, 1, 31, tzinfo=UTC)
        opened = Transition(
            rule=Rule(judged_span="month", for_windows=3),
            window_start=last_of_january, window_end=last_of_january + ONE_DAY,
        )  # fmt: skip

        assert opened.since == last_of_january - 2 * ONE_DAY

    def test_of_months_in_a_row_began_with_the_first_of_them(self) -> None:
        opened = Transition(
            rule=Rule(span="month", judged_span="month", for_windows=3),
            window_start=datetime(2026, 3, 1, tzinfo=UTC), window_end=datetime(2026, 4, 1, tzinfo=UTC),
        )  # fmt: skip

        assert opened.since == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("span", "judged_span", "asked"),
    [
        ("auto", "day", "8 of 10 days"),
        ("auto", "week", "2 weeks"),
        ("auto", "month", "1 month"),
        ("auto", "28d", "8 of 10 windows of 28 days"),
        ("week", "week", "8 of 10 weeks"),
    ],
)
def test_a_rule_that_follows_its_monitor_waits_for_as_many_days_in_longer_windows(
    span: str, judged_span: str, asked: str
) -> None:
    rule = Rule(span=span, judged_span=judged_span, for_windows=8, of_windows=10)

    assert rule.asked_windows == asked


class TestAWindowThatIsMeasuredAgain:
    def test_ends_what_it_opened_where_it_says_otherwise_by_now(self, model: Model) -> None:
        """Predictions came first, and their labels minutes later: the windows before would have stayed an incident."""
        rule = watch(model)
        incident = incident_of(model, point(model, 0.7), point(model, 0.6, day=1))

        save_points([point(model, 0.9), point(model, 0.95, day=1)])
        touch(PendingEvaluation, [(model.pk,)], fields=("model_id",))
        judge(model.pk)

        ended = rule.transitions.get(kind="resolved")
        assert (ended.value, ended.window_end, ended.is_correction) == (
            0.95,
            incident.opened_at + ONE_DAY,
            True,
        )
        assert explain_state(rule).name == "normal"

    def test_ends_nothing_while_a_later_one_is_beyond_the_limit(self, model: Model) -> None:
        rule = watch(model)
        incident_of(model, point(model, 0.7), point(model, 0.6, day=1))

        save_points([point(model, 0.9)])
        touch(PendingEvaluation, [(model.pk,)], fields=("model_id",))
        judge(model.pk)

        assert not rule.transitions.filter(kind="resolved").exists()


class TestARuleOverEveryFeature:
    def test_hears_what_it_judges_beside_what_has_too_few_rows(self, model: Model) -> None:
        rule = Rule(metric="class_recall", feature="*", operator="below", threshold=0.8, min_rows=500)

        [window] = gather(
            rule,
            [
                point(model, 0.1, n=200, metric="class_recall", feature="ant"),
                point(model, 0.6, n=900, metric="class_recall", feature="bee"),
            ],
        )

        assert (window.feature, window.value) == ("bee", 0.6)


class TestARuleWaits:
    @pytest.mark.parametrize(("role", "opened"), [("champion", 0), ("shadow", 1)])
    def test_for_rows_of_answers_and_not_of_shadows(self, model: Model, role: str, opened: int) -> None:
        log(model, rows_of_a_day(DAY + 20 * ONE_DAY, 1))
        work(model)
        save_points([point(model, 0.7)])
        rule = watch(model)
        rule.state.judged_until = DAY
        rule.state.save()
        coming = (model.pk, model.versions.get(version="1").pk, role, DAY)
        touch(TouchedPeriod, [coming], fields=("model_id", "version_id", "role", "hour"))

        judge(model.pk)

        assert rule.transitions.count() == opened

    @pytest.mark.slow
    def test_by_as_many_questions_for_many_rules_as_for_one(self, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 1))
        work(model)

        def questions() -> int:
            with CaptureQueriesContext(connection) as asked:
                judge(model.pk)
            return sum(f'FROM "{TouchedPeriod._meta.db_table}"' in query["sql"] for query in asked)

        watch(model)
        of_one = questions()
        for number in range(4):
            watch(model, name=f"rule {number}")

        assert questions() == of_one > 0


class TestABackTest:
    def test_says_that_nothing_was_measured_by_its_span(self, model: Model) -> None:
        save_points([point(model, 0.7)])
        log(model, rows_of_a_day(DAY, 1))
        by_week, by_day = (watch(model, name=span, span=span) for span in ("week", "day"))

        weeks, days = (backtest(rule=rule, start=DAY, end=DAY + 9 * ONE_DAY) for rule in (by_week, by_day))

        assert not weeks.opened
        assert not_tested_because(by_week, weeks).startswith(
            "ROC AUC was not measured by the week in this time."
        )
        assert len(days.opened) == 1
        assert not_tested_because(by_day, days) == ""


class TestWhetherRulesCanFire:
    @pytest.mark.slow
    def test_is_found_out_by_as_many_questions_for_many_models_as_for_one(self, model: Model) -> None:
        project = model.project

        def rules_of(name: str) -> list[Rule]:
            model = create_model(project=project, name=name, task="binary", actor="test")
            set_segments(model=model, features=["region"], actor="test")
            log(model, rows_of_a_day(DAY, 30))
            work(model)
            return [
                watch(model, name=f"{span} {segment}", span=span, segment=segment) for span, segment in KINDS
            ]

        rules = rules_of("alone")
        with CaptureQueriesContext(connection) as of_one:
            alone = Reach(rules)
        reasons = [alone.cannot_fire_because(rule) for rule in rules]
        others = [rule for name in "abc" for rule in rules_of(name)]
        with CaptureQueriesContext(connection) as of_many:
            together = Reach([*rules, *others])

        assert len(of_many) == len(of_one)
        assert [together.cannot_fire_because(rule) for rule in rules] == reasons
        assert any(reasons)
