"""How a reference with days, and a monitor's method, decide what counts as drift."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import Project
from inference.registry.files.datasets import store_reference
from inference.registry.models import Model
from monitors.definitions.models import Monitor, MonitorKind, Reference, ReferenceDay
from monitors.definitions.segments import declare_segment, set_segments
from monitors.definitions.services import build_reference
from monitors.metrics.catalogue import ANSWER_COLUMNS, DRIFT_METRICS
from monitors.metrics.explaining.causes import rank_causes
from monitors.metrics.limits import PointJudge
from monitors.metrics.selectors import drift_rows, evidently_rows, longer_points
from monitors.metrics.store.models import MetricPoint
from monitors.rules.services import create_rule
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, give_reference, log, make_model, reference_csv, rows_of_a_day, work

pytestmark = pytest.mark.slow

A_DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def home() -> None:
    """Stay in the home of the test run, where the file of the module's reference lies."""


def make_restless(name: str) -> Model:
    """Make a model with a reference of 30 days, each with a level of income of its own."""
    levels = np.random.default_rng(0).normal(0, 0.6, 30)
    rows = [
        row
        for back, level in enumerate(levels, start=1)
        for row in rows_of_a_day(DAY - back * A_DAY, 100, shift=float(level))
    ]
    model = make_model(Project.objects.create(slug=name, name=name))
    store_reference(
        model=model, version="1", stream=reference_csv(rows), content_type="text/csv", actor="test"
    )
    build_reference(Reference.objects.get(model=model).pk)
    return model


@pytest.fixture(scope="module")
def restless_model(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Model]:
    with rows_of_many_tests(django_db_blocker):
        yield make_restless("restless")


@pytest.fixture
def restless(restless_model: Model, db: None) -> Model:
    return Model.objects.get(pk=restless_model.pk)


def psi_of_income(model: Model) -> MetricPoint:
    return MetricPoint.objects.get(
        model=model, metric="psi", feature="income", span="day", start=DAY, version=""
    )


class TestDaysOfTheReference:
    def test_are_kept_apart(self, restless: Model) -> None:
        days = ReferenceDay.objects.filter(reference__model=restless).order_by("day")

        assert [one.day for one in days] == [(DAY - back * A_DAY).date() for back in range(30, 0, -1)]

    def test_make_a_restless_column_quiet(self, restless: Model) -> None:
        log(restless, rows_of_a_day(DAY, 300, shift=0.6))

        work(restless)

        point = psi_of_income(restless)
        assert point.status == "ok"
        assert "30 runs of days" in point.detail["why"]

    def test_do_not_hide_a_day_beyond_them_all(self, restless: Model) -> None:
        log(restless, rows_of_a_day(DAY, 300, shift=4.0))

        work(restless)

        assert psi_of_income(restless).status in ("warning", "critical")

    def test_are_no_longer_missed_by_a_reference_that_has_none(self, db: None) -> None:
        model = make_restless("without-days")
        ReferenceDay.objects.filter(reference__model=model).delete()
        log(model, rows_of_a_day(DAY, 300, shift=0.6))

        work(model)

        assert "fewer than 14 days" in psi_of_income(model).detail["why"]

    def test_are_replaced_when_the_reference_is_built_again(self, restless: Model) -> None:
        reference = Reference.objects.get(model=restless)
        Reference.objects.update(state=Reference.State.BUILDING)

        build_reference(reference.pk)

        assert reference.days.count() == 30


class TestMethod:
    def test_a_new_monitor_decides_by_several_statistics_and_says_by_which(self, model: Model) -> None:
        give_reference(model)
        log(model, rows_of_a_day(DAY, 300, shift=1.0))

        work(model)

        income = MetricPoint.objects.filter(model=model, span="day", feature="income", detail__decides=True)
        [deciding] = income
        assert deciding.metric in ("anderson_darling", "wasserstein", "psi")
        assert deciding.detail["method"] == "combined"
        assert deciding.detail["decision_p_value"] < 0.01

    def test_a_monitor_of_the_old_method_keeps_it(self, model: Model) -> None:
        Monitor.objects.filter(model=model, kind=MonitorKind.DRIFT).update(method="psi")
        give_reference(model)
        log(model, rows_of_a_day(DAY, 300, shift=1.0))

        work(model)

        detail = psi_of_income(model).detail
        assert (detail["method"], detail["decides"]) == ("psi", True)

    def test_the_blame_falls_on_what_moved(self, model: Model) -> None:
        give_reference(model)
        log(model, rows_of_a_day(DAY, 300, shift=1.0))
        work(model)

        rows = drift_rows(model=model, start=DAY, end=DAY + A_DAY)["items"]

        assert rows[0]["feature"] == "income"
        assert rows[0]["share"] == pytest.approx(1)


class TestADay:
    def test_says_of_each_statistic_what_its_point_says(self, model: Model) -> None:
        give_reference(model)
        create_rule(
            project=model.project, model=model, actor="test", name="region moved", metric="psi", feature="region",
            threshold=0.0, severity="critical",
        )  # fmt: skip
        for number in range(8):
            log(model, rows_of_a_day(DAY + number * A_DAY, 300, shift=0.16))
        work(model)
        stored = MetricPoint.objects.filter(
            model=model, metric__in=DRIFT_METRICS, span="day", version="", segment=""
        )
        seen = set()

        points = PointJudge(model).judge(stored.order_by("start"))

        for number in range(8):
            start = DAY + number * A_DAY
            for row in drift_rows(model=model, start=start, end=start + A_DAY)["items"]:
                for metric, said in row["statistics"].items():
                    of_day = (one for one in points if one.start == start and one.metric == metric)
                    [point] = [one for one in of_day if one.feature == row["feature"]]
                    assert [said[name] for name in ("threshold", "status", "since", "is_beyond", "rule")] == [
                        point.threshold, point.status, point.since, point.is_beyond, point.rule or None,
                    ]  # fmt: skip
                    assert said["status"] != "ok" or said["value"] <= said["threshold"]
                    seen.add((said["rule"], said["status"]))
        assert seen >= {
            ("region moved", "critical"),
            (None, "ok"),
            (None, "not_significant"),
            (None, "warning"),
        }


class TestAWeek:
    @pytest.mark.parametrize("shift", [0.0, 0.15, 0.3, 1.0])
    def test_of_one_feature_is_judged_as_among_all(self, model: Model, shift: float) -> None:
        give_reference(model)
        log(model, rows_of_a_day(DAY, 300, shift=shift))
        asked = {"model": model, "metric": "psi", "start": DAY, "end": DAY + 7 * A_DAY, "step": "week"}
        work(model)

        among_all = {point.feature: described(point) for point in longer_points(**asked)}
        alone = {name: longer_points(**asked, feature=name) for name in among_all}

        assert {"income", "prediction", "region", "score"} == among_all.keys()
        assert {name: [described(point) for point in points] for name, points in alone.items()} == {
            name: [point] for name, point in among_all.items()
        }

    def test_that_a_rule_judges_as_the_last_seven_days_has_the_limit_of_the_rule(
        self, project: Project, model: Model
    ) -> None:
        give_reference(model)
        create_rule(
            project=project, model=model, actor="test", name="moved", metric="psi", feature="income", span="7d",
            threshold=0.001, severity="critical",
        )  # fmt: skip
        log(model, rows_of_a_day(DAY, 300, shift=1.0))
        work(model)

        items = drift_rows(model=model, start=DAY, end=DAY + 7 * A_DAY)["items"]

        [psi] = [item["statistics"]["psi"] for item in items if item["feature"] == "income"]
        assert (psi["rule"], psi["threshold"], psi["status"]) == ("moved", 0.001, "critical")


def described(point: MetricPoint) -> tuple[object, ...]:
    return point.value, point.threshold, point.status, point.n, point.detail


class TestAsEvidentlyWould:
    def test_a_large_reference_is_judged_by_distances(self, model: Model) -> None:
        give_reference(model)
        log(model, rows_of_a_day(DAY, 300, shift=1.0))
        work(model)

        answer = evidently_rows(model=model, start=DAY, end=DAY + A_DAY)

        rows = {row["feature"]: row for row in answer["items"]}
        assert set(rows) == {"income", "region", "prediction", "score"}
        assert rows["income"]["statistics"]["wasserstein"]["value"] > 0.8
        assert rows["income"]["decision"] == "drifted"
        assert "jensenshannon" in rows["region"]["statistics"]
        assert answer["decision"] == "drifted"

    def test_there_is_nothing_to_say_without_rows(self, model: Model) -> None:
        give_reference(model)

        answer = evidently_rows(model=model, start=DAY, end=DAY + A_DAY)

        assert (answer["decision"], answer["items"], answer["n"]) == ("no_data", [], 0)


class TestSegment:
    """Within a segment the feature that chooses its rows is what the segment says, which is no drift."""

    def test_is_judged_by_other_features_than_those_that_choose_its_rows(self, model: Model) -> None:
        give_reference(model)
        set_segments(model=model, features=["region"], actor="test")
        declare_segment(
            model=model, name="rich", conditions=[{"feature": "income", "lower": 0.5}], actor="test"
        )
        log(model, rows_of_a_day(DAY, 600))

        work(model)

        assert features_judged(model, "") == {"income", "region", *ANSWER_COLUMNS}
        assert features_judged(model, "region:north") == {"income", *ANSWER_COLUMNS}
        assert features_judged(model, "rich") == {"region", *ANSWER_COLUMNS}
        count = MetricPoint.objects.get(
            model=model, metric="drifted_features", segment="region:north", span="day", version=""
        )
        assert (count.value, count.status) == (0, "ok")

    def test_is_compared_and_blamed_without_them_too(self, model: Model) -> None:
        give_reference(model)
        set_segments(model=model, features=["region"], actor="test")
        log(model, rows_of_a_day(DAY, 600))
        work(model)

        period: dict[str, Any] = {"model": model, "start": DAY, "end": DAY + A_DAY, "segment": "region:north"}
        listed = [drift_rows(**period)["items"], evidently_rows(**period)["items"], rank_causes(**period)]

        assert [row["feature"] for rows in listed for row in rows if row.get("feature") == "region"] == []
        assert len(longer_points(metric="psi", step="7d", feature="region", **period)) == 0


def features_judged(model: Model, segment: str) -> set[str]:
    """The columns with a measured drift on the day in a segment."""
    points = MetricPoint.objects.filter(model=model, metric="psi", segment=segment, span="day", version="")
    return set(points.values_list("feature", flat=True))
