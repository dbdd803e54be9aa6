"""Rules with conditions, two severities and missing data, from stored points to incidents."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.work.work_rows import touch
from inference.registry.models import Model
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Delivery, Incident
from monitors.alerts.sending.channel_services import create_channel
from monitors.alerts.story import UPDATED
from monitors.definitions.segments import declare_segment, remove_segment
from monitors.metrics.store.models import MetricPoint, PendingEvaluation
from monitors.metrics.store.storing import save_points
from monitors.rules.judging.judge import backtest, judge
from monitors.rules.judging.reach import Reach
from monitors.rules.models import Rule, Transition
from monitors.rules.schemas import RuleOut
from monitors.rules.selectors import models_to_judge
from monitors.rules.services import create_rule, update_rule
from tests.monitors.rules.stored_points import ONE_DAY, incident_of, point, watch
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day

LATER = DAY + 20 * ONE_DAY
BOTH = {
    "all": [
        {"metric": "psi", "feature": "income", "threshold": 0.25},
        {"metric": "roc_auc", "operator": "below", "threshold": 0.8},
    ]
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> None:
    settings.HOME = tmp_path


@pytest.fixture
def model(db: None) -> Model:
    return make_model(Project.objects.create(slug="bank", name="Bank"))


def judged_by(model: Model, condition: dict[str, Any], **fields: Any) -> Rule:
    fields = {"name": "both", "recover_windows": 1, "min_rows": 200, "span": "day"} | fields
    return create_rule(project=model.project, model=model, actor="test", condition=condition, **fields)


def drift(model: Model, value: float, *, day: int) -> MetricPoint:
    return point(model, value, day=day, metric="psi", feature="income")


def judge_all(model: Model, *points: MetricPoint) -> list[Transition]:
    """Store points, and judge what has ended by three weeks later."""
    save_points(points)
    touch(PendingEvaluation, [(model.pk,)], fields=("model_id",))
    judge(model.pk)
    return list(Transition.objects.filter(model=model).order_by("window_end", "pk"))


@pytest.fixture
def logged(model: Model) -> Model:
    log(model, rows_of_a_day(LATER, 1))
    return model


def from_the_beginning(rule: Rule) -> Rule:
    rule.state.judged_until = DAY + timedelta(minutes=1)
    rule.state.save()
    return rule


class TestACondition:
    def test_fires_only_where_all_of_it_holds(self, logged: Model) -> None:
        from_the_beginning(judged_by(logged, BOTH))

        transitions = judge_all(
            logged,
            drift(logged, 0.4, day=0), point(logged, 0.9, day=0),
            drift(logged, 0.1, day=1), point(logged, 0.7, day=1),
            drift(logged, 0.4, day=2), point(logged, 0.7, day=2),
            drift(logged, 0.4, day=3), point(logged, 0.9, day=3),
        )  # fmt: skip

        assert [(one.kind, one.window_start) for one in transitions] == [
            ("opened", DAY + 2 * ONE_DAY),
            ("resolved", DAY + 3 * ONE_DAY),
        ]

    def test_opens_an_incident_of_the_comparison_that_decides(self, model: Model) -> None:
        judged_by(model, {"any": list(reversed(BOTH["all"]))})

        incident = incident_of(model, drift(model, 0.4, day=0), point(model, 0.9, day=0))

        assert incident.title == "approvals: Population stability index of income 0.4 above 0.25"
        assert incident.lead is not None
        assert incident.lead.labels["metric"] == "psi"
        assert (incident.lead.value, incident.lead.threshold) == (0.4, 0.25)
        assert incident.rule.metric == "psi"

    def test_began_with_the_first_of_the_windows_in_which_it_holds(self, logged: Model) -> None:
        from_the_beginning(judged_by(logged, BOTH, for_windows=2))

        [opened] = judge_all(
            logged,
            *(drift(logged, 0.4, day=day) for day in range(3)),
            point(logged, 0.9, day=0), point(logged, 0.7, day=1), point(logged, 0.7, day=2),
        )  # fmt: skip

        assert opened.since == DAY + ONE_DAY

    def test_waits_for_a_newest_window_that_lacks_a_point(self, logged: Model) -> None:
        from_the_beginning(judged_by(logged, BOTH))

        before = judge_all(logged, drift(logged, 0.4, day=0))
        after = judge_all(logged, point(logged, 0.7, day=0))

        assert (before, [one.kind for one in after]) == ([], ["opened"])

    def test_compares_with_what_late_rows_made_of_earlier_windows(self, logged: Model) -> None:
        """Windows that were judged stay so; later ones are compared with what is stored by then."""
        fewer = {"metric": "count", "operator": "below", "times": 0.5, "days_before": 1}
        from_the_beginning(judged_by(logged, {"all": [fewer]}))

        def rows(day: int, count: int) -> MetricPoint:
            return point(logged, count, day=day, metric="count", n=count)

        first = judge_all(logged, rows(0, 300), rows(1, 290))
        second = judge_all(logged, rows(1, 900), rows(2, 300))

        assert first == []
        assert [one.window_start for one in second] == [DAY + 2 * ONE_DAY]
        assert second[0].threshold == 450

    def test_is_judged_alike_by_the_back_test(self, logged: Model) -> None:
        rule = judged_by(logged, BOTH)
        save_points([drift(logged, 0.4, day=0), point(logged, 0.7, day=0), drift(logged, 0.4, day=1)])

        tested = backtest(rule=rule, start=DAY, end=LATER)

        assert [window.start for window in tested.opened] == [DAY]
        assert tested.judged == 2

    def test_keeps_a_segment_that_it_names_from_being_removed(self, model: Model) -> None:
        segment = declare_segment(
            model=model, name="rich", conditions=[{"feature": "income", "lower": 1.0}], actor="test"
        )
        judged_by(
            model, {"any": [BOTH["all"][0], {"metric": "accuracy", "segment": "rich", "threshold": 0.9}]}
        )

        with pytest.raises(Problem, match="'both' watches rich"):
            remove_segment(segment=segment, actor="test")

    def test_cannot_fire_where_one_of_what_must_hold_cannot_be_said(self, model: Model) -> None:
        rule = judged_by(model, BOTH)
        either = judged_by(model, {"any": [*BOTH["all"], {"metric": "count", "threshold": 5}]}, name="either")

        reach = Reach([rule, either])

        assert (
            reach.cannot_fire_because(rule)
            == "drift needs a reference, and the model has none: the rule cannot fire."
        )
        assert reach.cannot_fire_because(either) == ""


class TestChangingACondition:
    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"threshold": 0.5}, "/threshold"),
            ({"condition": None}, "/metric"),
            ({"metric": "psi"}, "/metric"),
        ],
    )
    def test_refuses_fields_that_it_says_itself(
        self, model: Model, changes: dict[str, Any], pointer: str
    ) -> None:
        rule = judged_by(model, BOTH)

        with pytest.raises(Problem) as refused:
            update_rule(rule=rule, actor="test", **changes)

        assert refused.value.errors[0].pointer == pointer

    def test_makes_a_plain_rule_of_it_and_back(self, model: Model) -> None:
        rule = judged_by(model, BOTH)

        update_rule(rule=rule, actor="test", condition=None, metric="count", feature="", threshold=7.0)
        plain = Rule.objects.get()
        update_rule(rule=plain, actor="test", condition=BOTH)

        assert (plain.terms[0].metric, Rule.objects.get().condition) == ("psi", BOTH)

    @pytest.mark.parametrize(
        ("condition", "pointer", "sentence"),
        [
            ({"all": [{"metric": "luck", "threshold": 1}]}, "/condition/all/0/metric", "'luck' is not a metric"),
            ({"metric": "psi", "threshold": 1}, "/condition/feature", "psi is measured a feature"),
            ({"metric": "silence", "threshold": 1}, "/span", "silence is measured by the hour only"),
            ({"not": {"metric": "count", "segment": "a:b", "threshold": 1}}, "/condition/not/segment", "of all rows"),
        ],
    )  # fmt: skip
    def test_refuses_what_is_not_measured(
        self, model: Model, condition: dict[str, Any], pointer: str, sentence: str
    ) -> None:
        with pytest.raises(Problem) as refused:
            judged_by(model, condition)

        assert refused.value.errors[0].pointer == pointer
        assert sentence in refused.value.errors[0].detail

    def test_refuses_a_week_that_starts_three_days_before_another(self, model: Model) -> None:
        odd = {"metric": "count", "times": 2, "days_before": 3}

        with pytest.raises(Problem, match="No week starts 3 days before another; use a multiple of 7"):
            judged_by(model, odd, span="week")


class TestACriticalThreshold:
    @pytest.mark.slow
    def test_makes_an_open_incident_critical_and_tells_those_who_know_of_it(self, model: Model) -> None:
        create_channel(
            project=model.project,
            kind="webhook",
            name="hook",
            target="https://example.com/hook",
            actor="test",
        )
        far = timedelta(days=3000)
        rule = watch(model, critical_threshold=0.5, notify_within=far, cooldown=far)

        incident = incident_of(model, point(model, 0.7))
        opened_as = incident.severity
        for transition in judge_all(model, point(model, 0.4, day=1), point(model, 0.7, day=2)):
            handle_transition(transition.pk)

        incident.refresh_from_db()
        assert (opened_as, incident.severity) == ("warning", "critical")
        assert incident.lead is not None
        assert (incident.lead.severity, incident.lead.labels["severity"]) == ("critical", "critical")
        assert [one.kind for one in rule.transitions.order_by("window_end")] == ["opened", "worsened"]
        assert Delivery.objects.filter(incident=incident, event=UPDATED).count() == 1

    def test_opens_a_critical_incident_where_the_first_window_is_beyond_it(self, model: Model) -> None:
        watch(model, critical_threshold=0.5)

        assert incident_of(model, point(model, 0.4)).severity == "critical"

    @pytest.mark.parametrize(
        ("fields", "sentence"),
        [
            ({"critical_threshold": 0.9}, "0.9 is not below the threshold, 0.8"),
            ({"critical_threshold": 0.5, "severity": "critical"}, "critical from its threshold on"),
            ({"critical_threshold": float("nan")}, "'nan' is not a finite number"),
            ({"critical_threshold": True}, "'True' is not a finite number"),
        ],
    )
    def test_is_refused_where_it_makes_no_difference(
        self, model: Model, fields: dict[str, Any], sentence: str
    ) -> None:
        with pytest.raises(Problem, match=sentence):
            watch(model, **fields)


class TestMissingData:
    def test_opens_an_incident_that_says_so(self, model: Model) -> None:
        watch(model, no_data="alert")

        incident = incident_of(
            model, point(model, 0.9), point(model, 300.0, metric="count"), point(model, 300.0, day=1, metric="count")
        )  # fmt: skip

        assert incident.title == "approvals: no data for ROC AUC"
        assert Incident.objects.get().alerts.get().value is None

    @pytest.mark.parametrize(("no_data", "expected"), [("keep", ["opened"]), ("ok", ["opened", "resolved"])])
    def test_resolves_only_where_the_rule_says_that_it_is_good(
        self, logged: Model, no_data: str, expected: list[str]
    ) -> None:
        from_the_beginning(watch(logged, no_data=no_data, recover_windows=1))

        transitions = judge_all(
            logged, point(logged, 0.7), *(point(logged, 9.0, day=day, metric="count") for day in range(3))
        )

        assert [one.kind for one in transitions] == expected

    def test_is_looked_for_when_time_alone_ends_a_window(self, logged: Model) -> None:
        from_the_beginning(watch(logged, no_data="alert"))
        save_points([point(logged, 9.0, metric="count")])

        assert models_to_judge(now()) == {logged.pk}
        assert [one.kind for one in judge_all(logged)] == ["opened"]
        assert models_to_judge(now()) == set()


class TestAState:
    def state_of(self, rule: Rule) -> tuple[str, str]:
        rule = Rule.objects.select_related("model", "state").get(pk=rule.pk)
        written = RuleOut.of(rule)
        return written.state, written.state_reason

    @pytest.mark.slow
    def test_is_named_with_a_reason_window_by_window(self, logged: Model) -> None:
        rule = from_the_beginning(watch(logged, for_windows=2, recover_windows=2))
        seen = [self.state_of(rule)]

        for day, value in enumerate([0.9, 0.7, 0.7, 0.9, None]):
            status = "no_data" if value is None else "ok"
            judge_all(logged, point(logged, value, day=day, status=status))  # type: ignore[arg-type]
            seen.append(self.state_of(rule))

        day = f"{DAY:%-d %b %Y}"
        newest = f"{DAY + 4 * ONE_DAY:%-d %b %Y}"
        assert seen == [
            ("normal", "No window was judged yet."),
            ("normal", f"Its condition does not hold on {day}."),
            ("pending", "Its condition held in 1 day; it fires at 2 days."),
            ("firing", "Its condition held in at least 2 days; 2 good days in a row resolve it."),
            ("recovering", "It fires still: 1 good day of 2 in a row that resolve it were seen."),
            ("no_data", f"There is no value, or there are too few rows, on {newest}: it stays firing."),
        ]

    def test_is_an_error_until_the_rule_can_be_judged_again(self, logged: Model) -> None:
        rule = from_the_beginning(watch(logged))
        Rule.objects.filter(pk=rule.pk).update(condition={"luck": 1})

        judge_all(logged, point(logged, 0.9))
        broken = error_of(rule)
        Rule.objects.filter(pk=rule.pk).update(condition=None)
        judge_all(logged, point(logged, 0.9, day=1))

        assert "A comparison has exactly one of" in broken
        assert error_of(rule) == ""


def error_of(rule: Rule) -> str:
    rule.state.refresh_from_db()
    return rule.state.error
