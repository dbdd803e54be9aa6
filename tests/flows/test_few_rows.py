"""A model of 24 rows a day is watched by the week: what a dense model's days say, its weeks do."""

from datetime import datetime, timedelta
from zlib import crc32

import numpy as np
import pytest

from driftline.base.accounts.models import AuditEntry, Project
from driftline.base.errors import Problem
from driftline.base.periods import parse_timestamp
from inference.prediction_log.items import LabelItem
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model
from monitors.definitions.models import Monitor, MonitorKind
from monitors.definitions.monitors import choose_span, fit_span
from monitors.metrics.selectors import longer_points
from monitors.metrics.services import measure
from monitors.metrics.store.models import MetricPoint
from monitors.rules.defaults import add_default_rules
from monitors.rules.judging.judge import judge
from monitors.rules.judging.reach import Reach
from monitors.rules.models import Rule, Transition
from monitors.rules.services import create_rule, update_rule
from monitors.summaries import services
from monitors.summaries.services import summarise
from tests.worlds.approvals import DAY, FOUR_HOURS, give_reference, label, log, rows_of_a_day, work

pytestmark = pytest.mark.slow

ONE_DAY, ONE_WEEK = timedelta(days=1), timedelta(weeks=1)
ROWS = 24


def labels_of(rows: list[SentPrediction], *, sharpness: float) -> list[LabelItem]:
    """Draw labels that follow the income the more, the sharper; 4 gives a ROC AUC of 0.93, 0.8 one of 0.68."""
    rng = np.random.default_rng(crc32(rows[0].id.encode()))
    return [
        LabelItem(
            id=row.id,
            label=str(int(rng.random() < 1 / (1 + np.exp(-sharpness * row.features["income"])))),
            timestamp=parse_timestamp(row.timestamp),
        )
        for row in rows
    ]


def send(
    model: Model, days: int, *, first: int = 0, n: int = ROWS, sharpness: float = 4.0, shift: float = 0.0
) -> None:
    """Log so many days of rows with their labels, from day number `first` on."""
    for number in range(first, first + days):
        rows = rows_of_a_day(DAY + number * ONE_DAY, n, shift=shift, hours=FOUR_HOURS)
        log(model, rows)
        label(model, labels_of(rows, sharpness=sharpness))


def spans(model: Model) -> dict[str, str]:
    return dict(model.monitors.values_list("kind", "span"))


def quality_rule(project: Project, model: Model, **fields: object) -> Rule:
    defaults = {"name": "ranks badly", "metric": "roc_auc", "operator": "below", "threshold": 0.8}
    return create_rule(project=project, model=model, actor="test", **(defaults | fields))


def weeks_measured(model: Model, metric: str) -> list[datetime]:
    points = MetricPoint.objects.filter(model=model, span="week", metric=metric, role="champion", version="")
    return list(points.filter(segment="", feature="").order_by("start").values_list("start", flat=True))


class TestFewRowsADay:
    def test_a_model_that_ranks_worse_and_worse_has_an_incident(self, project: Project, model: Model) -> None:
        rule = quality_rule(project, model)
        send(model, 28, sharpness=4.0)
        send(model, 28, first=28, sharpness=0.8)

        work(model)

        [opened] = rule.transitions.filter(kind="opened")
        assert opened.window_end - opened.window_start == ONE_WEEK
        assert DAY + 28 * ONE_DAY < opened.window_end <= DAY + 42 * ONE_DAY
        assert opened.n == 7 * ROWS
        assert opened.value < 0.8

    def test_nothing_fires_where_nothing_is_wrong(self, project: Project, model: Model) -> None:
        rule = quality_rule(project, model)
        moved = create_rule(
            project=project, model=model, actor="test", name="moved", metric="drifted_features", threshold=0
        )
        give_reference(model)
        send(model, 28)

        work(model)

        assert not rule.transitions.exists()
        assert not moved.transitions.exists()
        moved.state.refresh_from_db()
        assert moved.state.judged_until == DAY + 21 * ONE_DAY  # the fourth week has an hour to go

    def test_the_default_rules_made_before_the_first_row_hear_of_drift_after_one_week(
        self, project: Project, model: Model
    ) -> None:
        add_default_rules(project=project, model=model, actor="test")
        give_reference(model)
        send(model, 14)
        send(model, 8, first=14, shift=2.0)

        work(model)

        opened = Transition.objects.get(rule__name="Feature drift", kind="opened")
        assert (opened.window_start, opened.window_end) == (DAY + 2 * ONE_WEEK, DAY + 3 * ONE_WEEK)
        assert not model.transitions.filter(window_end__lte=DAY + 2 * ONE_WEEK).exists()

    def test_the_whole_imported_history_is_measured_by_the_week(self, project: Project, model: Model) -> None:
        give_reference(model)
        send(model, 42)

        work(model)

        assert spans(model) == {"drift": "week", "quality": "week", "performance": "week", "service": "day"}
        assert weeks_measured(model, "roc_auc") == [DAY + week * ONE_WEEK for week in range(6)]
        assert weeks_measured(model, "drifted_features") == weeks_measured(model, "roc_auc")

    def test_stored_weeks_are_what_is_measured_on_demand(self, project: Project, model: Model) -> None:
        give_reference(model)
        send(model, 28)
        work(model)

        measured = longer_points(
            model=model, metric="roc_auc", start=DAY, end=DAY + 28 * ONE_DAY, step="week"
        )

        stored = MetricPoint.objects.filter(
            model=model, span="week", metric="roc_auc", role="champion", version=""
        ).order_by("start")
        assert [(p.start, p.value, p.n, p.lower, p.upper, p.status) for p in stored] == [
            (p.start, p.value, p.n, p.lower, p.upper, p.status) for p in measured
        ]

    def test_a_week_is_judged_once_all_of_it_is_summarised(
        self, project: Project, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(services, "HOURS_A_TASK", 60)
        rule = quality_rule(project, model, span="week", for_windows=3)
        send(model, 22, sharpness=0.5)

        while summarise(model.pk) | measure(model.pk) | judge(model.pk):  # workers take turns
            pass

        assert rule.transitions.get(kind="opened").window_end == DAY + 3 * ONE_WEEK

    def test_a_very_small_model_is_judged_by_the_month(self, model: Model) -> None:
        send(model, 14, n=5)

        work(model)

        assert spans(model)["performance"] == "month"
        assert spans(model)["drift"] == "month"


class TestChangingTheSpan:
    def test_each_change_is_in_the_audit_trail(self, project: Project, model: Model) -> None:
        send(model, 14)

        work(model)

        [entry] = AuditEntry.objects.filter(project=project, action="monitor.span", before__kind="drift")
        assert entry.before["span"] == "auto (day)"
        assert entry.after["span"] == "auto (week)"

    def test_goes_back_to_days_once_they_have_half_as_many_rows_again(self, model: Model) -> None:
        send(model, 14)
        work(model)

        send(model, 15, first=14, n=60)
        work(model)
        assert spans(model)["drift"] == "week"  # days of 60 rows are more than 50, and not 75

        send(model, 20, first=29, n=80)
        work(model)
        assert spans(model)["drift"] == "day"

    def test_a_span_that_somebody_chose_stays(self, model: Model) -> None:
        monitor = model.monitors.get(kind=MonitorKind.DRIFT)
        choose_span(monitor=monitor, span="28d", actor="ada")
        send(model, 28)

        work(model)

        monitor.refresh_from_db()
        assert monitor.span_text == "28d"
        choose_span(monitor=monitor, span="auto", actor="ada")
        send(model, 1, first=28)
        work(model)
        monitor.refresh_from_db()
        assert monitor.span_text == "auto (week)"

    def test_a_span_that_windows_do_not_have_is_refused(self, model: Model) -> None:
        with pytest.raises(Problem, match="2d to 90d"):
            choose_span(monitor=model.monitors.get(kind="drift"), span="fortnight", actor="ada")

    def test_rules_follow_their_monitor_and_those_with_a_span_of_their_own_stay(
        self, project: Project, model: Model
    ) -> None:
        follows = quality_rule(project, model)
        stays = quality_rule(project, model, name="by the day", span="day")
        send(model, 14)

        work(model)

        follows.refresh_from_db()
        stays.refresh_from_db()
        assert (follows.span, follows.judged_span) == ("auto", "week")
        assert (stays.span, stays.judged_span) == ("day", "day")

    def test_windows_that_a_rule_judges_are_measured_on_when_its_monitor_moves(
        self, project: Project, model: Model
    ) -> None:
        send(model, 14)
        work(model)
        monitor = model.monitors.get(kind=MonitorKind.PERFORMANCE)
        assert monitor.span_text == "auto (week)"
        quality_rule(project, model, span="week")

        choose_span(monitor=monitor, span="month", actor="ada")
        send(model, 8, first=14)
        work(model)

        assert monitor.rule_spans == ["week"]
        assert weeks_measured(model, "roc_auc")[-2:] == [DAY + 2 * ONE_WEEK, DAY + 3 * ONE_WEEK]

    def test_a_worker_that_read_the_monitor_before_leaves_what_somebody_chose_since(
        self, model: Model
    ) -> None:
        read_before = model.monitors.get(kind=MonitorKind.DRIFT)
        choose_span(monitor=model.monitors.get(kind=MonitorKind.DRIFT), span="28d", actor="ada")

        fit_span(monitor=read_before, span="week")

        assert read_before.span_text == "28d"
        assert model.monitors.get(kind=MonitorKind.DRIFT).span_text == "28d"


class TestRollingWindows:
    def test_the_last_seven_days_are_judged_on_each_day(self, project: Project, model: Model) -> None:
        rule = quality_rule(project, model, span="7d")
        send(model, 21, sharpness=4.0)
        send(model, 14, first=21, sharpness=0.5)

        work(model)

        starts = MetricPoint.objects.filter(
            model=model, span="7d", metric="roc_auc", role="champion", version=""
        ).order_by("start")
        assert [point.end - point.start for point in starts] == [ONE_WEEK] * len(starts)
        assert starts.last().end == DAY + 35 * ONE_DAY
        assert len(starts) == 35  # one a day: the first ones begin before the first row
        opened = rule.transitions.get(kind="opened")
        assert DAY + 22 * ONE_DAY < opened.window_end <= DAY + 28 * ONE_DAY

    def test_they_are_measured_where_a_rule_asks_and_no_longer(self, project: Project, model: Model) -> None:
        rule = quality_rule(project, model, span="7d")
        assert model.monitors.get(kind="performance").rule_spans == ["7d"]

        update_rule(rule=rule, actor="test", span="week")

        assert model.monitors.get(kind="performance").rule_spans == ["week"]


class TestRowsThatARuleNeeds:
    def test_fewer_than_the_monitor_judges_by_are_refused(self, project: Project, model: Model) -> None:
        with pytest.raises(Problem, match="judged from 100 rows on") as refused:
            quality_rule(project, model, min_rows=20)

        assert refused.value.status == 422

    def test_a_new_rule_asks_for_as_many_as_its_monitor(self, project: Project, model: Model) -> None:
        rule = create_rule(
            project=project, model=model, actor="test", name="moved", metric="drifted_features", threshold=0
        )

        assert rule.min_rows == Monitor.objects.get(model=model, kind="drift").min_rows


class TestRulesThatCannotFire:
    def test_say_how_many_rows_they_lack(self, project: Project, model: Model) -> None:
        rule = quality_rule(project, model, span="day")
        send(model, 14)
        work(model)

        assert Reach([rule]).cannot_fire_because(rule) == (
            "it needs 100 labelled rows in a window, and the 13 newest days have at most 24: the rule "
            "can fire only on a proven breach."
        )

    def test_can_where_their_windows_fit_the_traffic(self, project: Project, model: Model) -> None:
        rule = quality_rule(project, model)
        send(model, 14)
        work(model)
        rule.refresh_from_db()

        assert Reach([rule]).cannot_fire_because(rule) == ""

    def test_say_that_drift_needs_a_reference(self, project: Project, model: Model) -> None:
        rule = create_rule(
            project=project, model=model, actor="test", name="moved", metric="drifted_features", threshold=0
        )

        assert Reach([rule]).cannot_fire_because(rule) == (
            "drift needs a reference, and the model has none: the rule cannot fire."
        )


class TestBreachesThatFewRowsProve:
    def test_are_judged_although_rows_are_too_few(self, project: Project, model: Model) -> None:
        rule = quality_rule(project, model, metric="accuracy", span="day", threshold=0.8)
        send(model, 1, n=40, sharpness=-4.0)
        send(model, 1, first=1, n=40)

        work(model)

        point = MetricPoint.objects.get(
            model=model, span="day", start=DAY, metric="accuracy", version="", role="champion"
        )
        assert point.status == "warning"
        assert point.detail["why_judged"] == (
            "Its interval lies beyond 0.8 as a whole, which 40 rows are enough to tell."
        )
        assert rule.transitions.get(kind="opened").window_start == DAY

    def test_are_those_of_a_rule_where_it_judges_and_of_no_single_version(
        self, project: Project, model: Model
    ) -> None:
        quality_rule(project, model, metric="accuracy", span="day", threshold=0.8)
        send(model, 1, n=40, sharpness=-4.0)
        send(model, 1, first=1, n=1)

        work(model)

        points = MetricPoint.objects.filter(model=model, span="day", start=DAY, metric="accuracy", segment="")
        assert dict(points.values_list("version", "status")) == {"": "warning", "1": "insufficient"}

    def test_stay_silent_where_the_interval_holds_the_threshold(self, project: Project, model: Model) -> None:
        rule = quality_rule(project, model, metric="accuracy", span="day", threshold=0.9)
        send(model, 2, n=40)

        work(model)

        assert not rule.transitions.exists()
