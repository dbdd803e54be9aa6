"""From a metric beyond its limit to an incident and back."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from inference.registry.models import Model
from monitors.metrics.explaining.causes import rank_causes
from monitors.metrics.store.models import MetricPoint
from monitors.metrics.store.storing import save_points
from monitors.rules.judging.judge import backtest
from monitors.rules.models import Rule, Transition
from monitors.rules.services import create_rule
from tests.worlds.approvals import DAY, give_reference, label, log, rows_of_a_day, truths, work

ONE_DAY = timedelta(days=1)


def drift_rule(project: Project, model: Model, **fields: object) -> Rule:
    defaults = {
        "name": "income moved",
        "metric": "psi",
        "feature": "income",
        "threshold": 0.2,
        "recover_windows": 1,
    }
    return create_rule(project=project, model=model, actor="test", **(defaults | fields))


def send_days(model: Model, shifts: list[float]) -> None:
    for number, shift in enumerate(shifts):
        log(model, rows_of_a_day(DAY + number * ONE_DAY, 300, shift=shift))
        work(model)


def kinds(rule: Rule) -> list[str]:
    return list(rule.transitions.order_by("window_end").values_list("kind", flat=True))


class TestJudging:
    def test_opens_when_the_window_has_closed_and_resolves_when_it_is_over(
        self, project: Project, model: Model
    ) -> None:
        give_reference(model)
        rule = drift_rule(project, model)

        send_days(model, [0, 2, 0, 0])

        assert kinds(rule) == ["opened", "resolved"]
        opened = rule.transitions.get(kind="opened")
        assert opened.window_start == DAY + ONE_DAY
        assert opened.detail["causes"][0]["feature"] == "income"

    @pytest.mark.slow
    def test_names_broken_data_before_what_drifted(self, project: Project, model: Model) -> None:
        give_reference(model)
        rule = drift_rule(project, model, metric="missing_share", threshold=0.3)
        send_days(model, [0])
        rows = rows_of_a_day(DAY + ONE_DAY, 300, shift=2.0)
        broken = [replace(row, features=row.features | {"income": None}) for row in rows[:200]]
        log(model, [*broken, *rows[200:]])
        log(model, rows_of_a_day(DAY + 2 * ONE_DAY, 300))

        work(model)

        causes = rule.transitions.get(kind="opened").detail["causes"]
        assert [(cause["kind"], cause["feature"]) for cause in causes] == [
            ("fault", "income"),
            ("drift", "income"),
        ]
        assert causes[0]["evidence"].startswith("missing values in income: 66.7% of rows")

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("metric", "rows", "order"),
        [
            pytest.param("faulty_features", 1, ["drift", "fault"], id="a lone row"),
            pytest.param(
                "faulty_features", 2, ["fault", "drift"], id="two rows, and the problem is the data's"
            ),
            pytest.param("roc_auc", 2, ["drift", "fault"], id="two rows, and it is not"),
            pytest.param("roc_auc", 3, ["fault", "drift"], id="one in a hundred rows"),
        ],
    )
    def test_names_faults_of_very_few_rows_after_what_drifted(
        self, project: Project, model: Model, metric: str, rows: int, order: list[str]
    ) -> None:
        give_reference(model)
        send_days(model, [2, 0])
        odd = MetricPoint(
            model=model, role="champion", span="day", start=DAY, end=DAY + ONE_DAY, metric="wrong_type_share",
            feature="region", value=rows / 300, n=300, threshold=0.0, status="warning",
        )  # fmt: skip
        save_points([odd])

        causes = rank_causes(model=model, start=DAY, end=DAY + ONE_DAY, metric=metric)

        assert [cause["kind"] for cause in causes] == order

    @pytest.mark.slow
    @pytest.mark.parametrize(("share", "order"), [(0.165, ["drift", "fault"]), (0.9, ["fault", "drift"])])
    def test_names_a_value_that_is_more_frequent_after_what_drifted_and_a_stuck_one_before(
        self, project: Project, model: Model, share: float, order: list[str]
    ) -> None:
        give_reference(model)
        send_days(model, [2, 0])
        tie = MetricPoint(
            model=model, role="champion", span="day", start=DAY, end=DAY + ONE_DAY, metric="mode_share",
            feature="region", value=share, n=300, threshold=0.144, status="warning",
        )  # fmt: skip
        save_points([tie])

        causes = rank_causes(model=model, start=DAY, end=DAY + ONE_DAY, metric="roc_auc")

        assert [cause["kind"] for cause in causes] == order

    def test_never_judges_a_day_that_is_still_being_sent(self, project: Project, model: Model) -> None:
        give_reference(model)
        rule = drift_rule(project, model)

        send_days(model, [2])

        assert kinds(rule) == []

    @pytest.mark.slow
    def test_waits_for_the_windows_in_a_row_that_it_asks_for(self, project: Project, model: Model) -> None:
        give_reference(model)
        rule = drift_rule(project, model, for_windows=2)

        send_days(model, [2, 0, 2, 2, 2])

        assert rule.transitions.get().window_start == DAY + 3 * ONE_DAY

    @pytest.mark.slow
    def test_judging_again_changes_nothing(self, project: Project, model: Model) -> None:
        give_reference(model)
        rule = drift_rule(project, model)
        send_days(model, [2, 2])
        before = Transition.objects.count()

        log(model, rows_of_a_day(DAY + 2 * ONE_DAY, 1))
        work(model)
        work(model)

        assert Transition.objects.filter(rule=rule, kind="opened").count() == 1
        assert Transition.objects.count() >= before


@pytest.mark.slow
class TestANewRule:
    def test_leaves_windows_that_nobody_would_be_notified_of_to_the_back_test(
        self, project: Project, model: Model
    ) -> None:
        give_reference(model)
        send_days(model, [2, 2, 2])  # long ago by the wall clock

        rule = drift_rule(project, model)
        log(model, rows_of_a_day(DAY + 3 * ONE_DAY, 1))
        work(model)

        assert (
            rule.transitions.earliest("window_start").window_start == DAY + ONE_DAY
        )  # the last that had ended


@pytest.mark.slow
class TestBacktest:
    def test_tells_when_the_rule_would_have_fired(self, project: Project, model: Model) -> None:
        give_reference(model)
        send_days(model, [0, 2, 2, 0, 2, 0])
        imagined = Rule(
            project=project, model=model, name="x", metric="psi", feature="income", threshold=0.2, span="day",
            for_windows=1, recover_windows=1, min_rows=100, cooldown=ONE_DAY, notify_within=ONE_DAY,
        )  # fmt: skip

        tested = backtest(rule=imagined, start=DAY, end=DAY + 10 * ONE_DAY)

        assert [window.start for window in tested.opened] == [DAY + ONE_DAY, DAY + 4 * ONE_DAY]
        assert tested.judged == 6


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"threshold": float("nan")}, "/threshold"),
        ({"metric": "vibes"}, "/metric"),
        ({"feature": ""}, "/feature"),
        ({"for_windows": 0}, "/for_windows"),
        ({"cooldown": timedelta(seconds=-1)}, "/cooldown"),
        ({"operator": "beside"}, "/operator"),
        ({"name": "two\nlines"}, "/name"),
    ],
)
def test_a_wrong_rule_is_refused_by_field(
    project: Project, model: Model, fields: dict[str, object], pointer: str
) -> None:
    with pytest.raises(Problem) as refused:
        drift_rule(project, model, **fields)

    assert refused.value.errors[0].pointer == pointer
    assert not Rule.objects.exists()


@pytest.mark.slow
def test_a_day_whose_labels_never_come_says_nothing_and_holds_up_no_other(
    project: Project, model: Model
) -> None:
    rule = create_rule(
        project=project, model=model, actor="test", name="accuracy fell", metric="accuracy", operator="below",
        threshold=0.99, for_windows=2, min_rows=100,
    )  # fmt: skip
    for number, labelled in enumerate([200, 60, 200, 200]):
        rows = rows_of_a_day(DAY + number * ONE_DAY, 200)
        log(model, rows)
        label(model, truths(rows)[:labelled])
        work(model)

    statuses = MetricPoint.objects.filter(model=model, metric="accuracy", span="day", version="")
    assert statuses.get(start=DAY + ONE_DAY).status == "insufficient"
    assert rule.transitions.get().window_start == DAY + 2 * ONE_DAY
