"""What a metric point says by the limit that speaks."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from driftline.base.accounts.models import Project
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.metrics.limits import PointJudge, is_drifted
from monitors.metrics.store.models import MetricPoint
from monitors.metrics.store.storing import save_points
from monitors.rules.models import Rule

DAY = datetime(2026, 1, 5, tzinfo=UTC)
ONE_DAY = timedelta(days=1)


def point(value: float | None, *, day: int = 0, **other: Any) -> MetricPoint:
    fields = {"metric": "psi", "feature": "income", "status": "ok", "n": 300, "threshold": 0.1} | other
    start = DAY + day * ONE_DAY
    return MetricPoint(
        value=value, start=start, end=start + ONE_DAY, span="day", **{"role": "champion"} | fields
    )


def rule(threshold: float, **other: Any) -> Rule:
    fields = {"name": "moved", "metric": "psi", "feature": "income", "span": "day", "min_rows": 100} | other
    return Rule(threshold=threshold, **fields)


def judged(*points: MetricPoint, rules: Sequence[Rule] = ()) -> list[MetricPoint]:
    return PointJudge(Model(name="approvals"), rules, looks_back=False).judge(points)


class TestByTheReference:
    def test_a_statistic_beyond_its_limit_that_does_not_stand_out_is_not_significant(self) -> None:
        [seen] = judged(point(0.3))

        assert (seen.status, seen.is_beyond, seen.since) == ("not_significant", True, None)
        assert not is_drifted(seen)

    def test_the_psi_of_a_feature_that_drifted_by_another_statistic_lies_within_its_limit(self) -> None:
        [seen] = judged(point(0.02, status="warning"))

        assert (seen.status, seen.is_beyond) == ("warning", False)
        assert is_drifted(seen)

    def test_a_metric_of_performance_is_as_it_was_measured(self) -> None:
        fine, bad = judged(
            point(0.9, metric="roc_auc", feature="", threshold=0.8),
            point(0.7, metric="roc_auc", feature="", threshold=0.8, status="warning", day=1),
        )

        assert (fine.status, fine.is_beyond) == ("ok", False)
        assert (bad.status, bad.is_beyond, bad.since) == ("warning", True, bad.start)

    @pytest.mark.parametrize("status", ["insufficient", "unripe", "unreliable", "error", "no_data"])
    def test_what_was_not_judged_stays_so_whatever_a_rule_says(self, status: str) -> None:
        [seen] = judged(point(None if status == "no_data" else 0.9, status=status), rules=[rule(0.2)])

        assert (seen.status, seen.threshold, seen.is_beyond) == (status, 0.1, False)

    @pytest.mark.parametrize(
        ("metric", "value", "limit", "status"),
        [
            ("recall", 0.0, 0.0, "not_informative"),
            ("recall", 0.4, -0.02, "not_informative"),
            ("recall", 0.4, 0.3, "ok"),
            ("brier", 0.2, 1.0, "not_informative"),
            ("log_loss", 0.7, 1.2, "ok"),
            ("r2", 0.1, -0.2, "ok"),
        ],
    )
    def test_a_limit_of_performance_that_no_value_could_pass_is_no_reason_to_be_calm(
        self, metric: str, value: float, limit: float, status: str
    ) -> None:
        [seen] = judged(point(value, metric=metric, feature="", threshold=limit))

        assert seen.status == status


class TestByRules:
    def test_a_rule_speaks_instead_of_the_reference_either_way(self) -> None:
        fine, bad = judged(point(0.15, status="warning"), point(0.3, day=1), rules=[rule(0.2)])

        assert (fine.status, fine.threshold, fine.rule) == ("ok", 0.2, "moved")
        assert is_drifted(fine)
        assert (bad.status, bad.threshold, bad.since) == ("warning", 0.2, bad.start)

    def test_of_several_the_most_severe_one_that_is_breached_speaks(self) -> None:
        rules = [rule(0.1, severity="notice"), rule(0.2), rule(0.4, severity="critical")]

        statuses = [
            one.status for one in judged(point(0.15), point(0.3), point(0.5), point(0.05), rules=rules)
        ]

        assert statuses == ["notice", "warning", "critical", "ok"]

    def test_a_window_of_fewer_rows_than_the_rule_asks_for_is_judged_by_the_reference(self) -> None:
        [seen] = judged(point(0.15, n=60, status="warning"), rules=[rule(0.2)])

        assert (seen.status, seen.threshold, seen.rule) == ("warning", 0.1, "")

    @pytest.mark.parametrize(
        "other",
        [{"role": "shadow"}, {"version": "2"}, {"segment": "region:north"}, {"feature": "age"}],
        ids=lambda other: next(iter(other)),
    )
    def test_a_rule_is_of_its_feature_and_segment_and_of_all_versions_alone(
        self, other: dict[str, str]
    ) -> None:
        [seen] = judged(point(0.3, status="warning", **other), rules=[rule(0.5)])

        assert (seen.status, seen.threshold) == ("warning", 0.1)

    def test_a_rule_over_every_feature_judges_each(self) -> None:
        seen = judged(point(0.3), point(0.3, feature="age"), rules=[rule(0.2, feature="*")])

        assert [one.status for one in seen] == ["warning", "warning"]


class TestSince:
    def test_a_run_begins_with_its_first_window_and_goes_on_over_what_was_not_judged(self) -> None:
        seen = judged(
            point(0.1), point(0.3, day=1), point(None, day=2, status="no_data"), point(0.4, day=3, n=20),
            point(0.3, day=4), point(0.1, day=5), point(0.3, day=6), rules=[rule(0.2)],
        )  # fmt: skip

        assert seen[4].since == DAY + ONE_DAY
        assert seen[6].since == DAY + 6 * ONE_DAY

    def test_a_run_that_began_long_before_what_is_read_is_known(self, db: None) -> None:
        project = Project.objects.create(slug="bank", name="Bank")
        model = create_model(project=project, name="approvals", task="binary", actor="test")
        days = [point(0.3, day=day, model=model, status="warning") for day in range(400) if day % 50]
        save_points(
            [point(0.05, day=10, model=model), *(one for one in days if one.start != DAY + 10 * ONE_DAY)]
        )
        newest = MetricPoint.objects.filter(start__gte=DAY + 395 * ONE_DAY).order_by("start")

        with CaptureQueriesContext(connection) as asked:
            seen = PointJudge(model).judge(newest)

        assert {one.since for one in seen} == {DAY + 11 * ONE_DAY}
        [oldest] = [query["sql"] for query in asked if "MIN(" in query["sql"]]
        assert MetricPoint._meta.db_table not in oldest  # it would unpack every point

    @pytest.mark.parametrize(
        ("metric", "detail"),
        [
            ("silence", {"since": "2026-01-02T03:00:00Z"}),
            ("drift_evidence", {"onset": "2026-01-02T03:00:00+00:00"}),
        ],
    )
    def test_what_adds_windows_up_says_itself_since_when(self, metric: str, detail: dict[str, str]) -> None:
        [by_reference] = judged(point(7.0, metric=metric, feature="", status="warning", detail=detail))
        [by_rule] = judged(
            point(7.0, metric=metric, feature="", detail=detail), rules=[rule(5.0, metric=metric, feature="")]
        )

        began = datetime(2026, 1, 2, 3, tzinfo=UTC)
        assert (by_reference.since, by_rule.since) == (began, began)

    def test_each_limit_has_a_run_of_its_own(self) -> None:
        rules = [rule(0.2), rule(0.4, severity="critical")]

        seen = judged(point(0.3), point(0.5, day=1), point(0.3, day=2), rules=rules)

        assert [(one.status, one.since) for one in seen] == [
            ("warning", DAY),
            ("critical", DAY + ONE_DAY),
            ("warning", DAY),
        ]
