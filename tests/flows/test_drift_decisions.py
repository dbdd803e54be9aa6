"""How a reference with days, and a monitor's method, decide what counts as drift."""

from datetime import timedelta

import numpy as np
import pytest

from inference.registry.datasets import store_reference
from inference.registry.models import Model
from monitors.definitions.models import Monitor, MonitorKind, Reference, ReferenceDay
from monitors.definitions.services import build_reference
from monitors.metrics.models import MetricPoint
from monitors.metrics.selectors import drift_rows, evidently_rows, longer_points
from tests.worlds.approvals import DAY, give_reference, log, reference_csv, rows_of_a_day, work

A_DAY = timedelta(days=1)


@pytest.fixture
def restless(model: Model) -> Model:
    """A model whose reference has 30 days, the income of each with a level of its own."""
    levels = np.random.default_rng(0).normal(0, 0.6, 30)
    rows = [
        row
        for back, level in enumerate(levels, start=1)
        for row in rows_of_a_day(DAY - back * A_DAY, 100, shift=float(level))
    ]
    store_reference(
        model=model, version="1", stream=reference_csv(rows), content_type="text/csv", actor="test"
    )
    build_reference(Reference.objects.get(model=model).pk)
    return model


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

    def test_are_no_longer_missed_by_a_reference_that_has_none(self, restless: Model) -> None:
        ReferenceDay.objects.all().delete()
        log(restless, rows_of_a_day(DAY, 300, shift=0.6))

        work(restless)

        assert "fewer than 14 days" in psi_of_income(restless).detail["why"]

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

        detail = psi_of_income(model).detail
        assert detail["method"] == "combined"
        assert detail["decided_by"] in ("anderson_darling", "wasserstein", "psi")
        assert detail["decision_p_value"] < 0.01

    def test_a_monitor_of_the_old_method_keeps_it(self, model: Model) -> None:
        Monitor.objects.filter(model=model, kind=MonitorKind.DRIFT).update(method="psi")
        give_reference(model)
        log(model, rows_of_a_day(DAY, 300, shift=1.0))

        work(model)

        detail = psi_of_income(model).detail
        assert (detail["method"], detail["decided_by"], detail["decides"]) == ("psi", "psi", True)

    def test_the_blame_falls_on_what_moved(self, model: Model) -> None:
        give_reference(model)
        log(model, rows_of_a_day(DAY, 300, shift=1.0))
        work(model)

        rows = drift_rows(model=model, start=DAY, end=DAY + A_DAY)["items"]

        assert rows[0]["feature"] == "income"
        assert rows[0]["share"] == pytest.approx(1)


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
