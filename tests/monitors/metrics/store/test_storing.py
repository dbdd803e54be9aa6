"""Points of one measure and window are stored as one row, and read one by one."""

from datetime import timedelta
from typing import Any

import pytest

from driftline.base.accounts.models import Project
from inference.registry.models import Model
from monitors.metrics.catalogue import Measure
from monitors.metrics.store.models import MetricPoint, PackedPoints, PointLimits, PointName
from monitors.metrics.store.storing import (
    forget_unmeasured,
    forget_unused_limits,
    mark_errors,
    save_points,
    update_points,
)
from tests.worlds.approvals import DAY, make_model

pytestmark = pytest.mark.django_db

A_DAY = timedelta(days=1)


@pytest.fixture
def model(db: None) -> Model:
    return make_model(Project.objects.create(slug="p", name="P"))


def point(model: Model, metric: str = "psi", feature: str = "", day: int = 0, **fields: Any) -> MetricPoint:
    said: dict[str, Any] = {
        "value": 0.5,
        "n": 300,
        "status": "ok",
        "role": "champion",
        "span": "day",
    } | fields
    return MetricPoint(model=model, metric=metric, feature=feature, start=DAY + day * A_DAY, **said)


def values(model: Model, **which: Any) -> dict[str, float | None]:
    found = MetricPoint.objects.filter(model=model, **which).order_by("feature")
    return {
        feature or metric: value for metric, feature, value in found.values_list("metric", "feature", "value")
    }


def judged(model: Model, day: int, why: str = "Chance alone.", **fields: Any) -> list[MetricPoint]:
    """Two features of one day, judged by the same draws."""
    detail = {"why": why, "p_value": 0.25, "method": "combined"}
    return [
        point(
            model, feature=name, day=day, threshold=0.1, detail=detail | {"decides": name == "age"}, **fields
        )
        for name in ("age", "income")
    ]


def test_a_point_comes_back_as_it_was_measured(model: Model) -> None:
    save_points(
        [
            *judged(model, 0),
            point(model, "drifted_features", value=0.0, n=299, detail={"counted": []}),
            point(model, "accuracy", lower=0.4, upper=0.6, threshold=0.3, n=200, detail={"method": "wilson"}),
        ]
    )

    age = MetricPoint.objects.get(metric="psi", feature="age")
    accuracy = MetricPoint.objects.get(metric="accuracy")

    assert (age.value, age.n, age.threshold, age.status, age.end) == (0.5, 300, 0.1, "ok", DAY + A_DAY)
    assert age.detail == {"why": "Chance alone.", "p_value": 0.25, "method": "combined", "decides": True}
    assert MetricPoint.objects.get(metric="drifted_features").n == 299
    assert (accuracy.lower, accuracy.upper, accuracy.threshold, accuracy.n) == (0.4, 0.6, 0.3, 200)
    assert accuracy.detail == {"method": "wilson"}


@pytest.mark.parametrize(
    ("span", "length"),
    [
        ("hour", timedelta(hours=1)),
        ("day", A_DAY),
        ("week", 7 * A_DAY),
        ("month", 31 * A_DAY),
        ("28d", 28 * A_DAY),
    ],
)
def test_a_window_ends_when_its_span_does(model: Model, span: str, length: timedelta) -> None:
    first = DAY.replace(day=1)
    save_points(
        [MetricPoint(model=model, metric="count", role="champion", span=span, start=first, n=1, status="ok")]
    )

    assert MetricPoint.objects.get().end == first + length


def test_what_is_measured_again_replaces_all_that_its_measure_had_said(model: Model) -> None:
    save_points(
        [point(model, "class_recall", "cat"), point(model, "class_recall", "dog"), point(model, "accuracy")]
    )

    save_points([point(model, "class_recall", "dog", value=0.75)])

    assert values(model) == {"accuracy": 0.5, "dog": 0.75}


def test_one_point_changes_without_the_others_of_its_row(model: Model) -> None:
    save_points(
        [point(model, "estimated_accuracy", detail={"judged": 4}), point(model, "estimated_f1", value=0.6)]
    )
    changed = MetricPoint.objects.get(metric="estimated_accuracy")
    changed.status, changed.detail = "unreliable", {"judged": 5}

    update_points([changed])

    stored = {point.metric: (point.value, point.status, point.detail) for point in MetricPoint.objects.all()}
    assert stored == {
        "estimated_accuracy": (0.5, "unreliable", {"judged": 5}),
        "estimated_f1": (0.6, "ok", None),
    }


def test_a_change_of_a_point_that_is_stored_no_more_changes_no_other(model: Model) -> None:
    save_points([point(model, "estimated_roc_auc", detail={"judged": 4})])
    read_before = MetricPoint.objects.get()

    save_points([point(model, "estimated_accuracy", value=0.9)])
    read_before.status = "unreliable"
    update_points([read_before])

    [stored] = MetricPoint.objects.all()
    assert (stored.metric, stored.value, stored.status) == ("estimated_accuracy", 0.9, "ok")


def test_a_value_that_late_data_changed_is_a_new_revision(model: Model) -> None:
    save_points([point(model, "count", value=10.0)])
    save_points([point(model, "count", value=10.0, status="warning")])
    same = MetricPoint.objects.get().revision

    save_points([point(model, "count", value=11.0)])

    assert (same, MetricPoint.objects.get().revision) == (1, 2)


def test_too_few_rows_store_no_number_of_a_feature(model: Model) -> None:
    save_points(
        [point(model, feature="age", status="insufficient", n=7, threshold=0.1, detail={"p_value": 0.1})]
    )

    [few] = MetricPoint.objects.all()

    assert (few.value, few.n, few.threshold, few.status, few.detail) == (None, 7, None, "insufficient", None)
    assert PackedPoints.objects.get().values is None


def test_classes_that_come_and_go_share_a_layout(model: Model) -> None:
    for day in range(12):
        save_points(
            [point(model, "class_recall", f"{number % 14}", day=day) for number in range(day, day + 10)]
        )

    layouts = PointName.objects.filter(model=model, measure="classes").values("layout").distinct()
    assert MetricPoint.objects.count() == 12 * 10
    assert layouts.count() <= 5
    assert values(model, start=DAY) == {f"{number}": 0.5 for number in range(10)}


def test_windows_that_are_judged_by_the_same_draws_share_their_limits(model: Model) -> None:
    for day in range(3):
        save_points(judged(model, day))
    save_points(judged(model, 3, why="Another reference."))
    limits = PointLimits.objects.count()

    save_points(judged(model, 3))
    dropped = forget_unused_limits(model.pk)

    assert (limits, dropped) == (2, 1)
    assert {point.detail["why"] for point in MetricPoint.objects.all() if point.detail} == {"Chance alone."}


@pytest.mark.parametrize(("span", "left"), [("day", {"", "region:north"}), ("week", {""})])
def test_a_segment_that_no_day_of_a_week_has_any_more_leaves_the_week(
    model: Model, span: str, left: set[str]
) -> None:
    whole = point(model, "accuracy", span=span)
    save_points([whole, point(model, "accuracy", span=span, segment="region:north")])

    forget_unmeasured(model.pk, [whole], [(span, DAY)], {span: {Measure.PERFORMANCE}})

    assert set(MetricPoint.objects.values_list("segment", flat=True)) == left


def test_a_window_that_cannot_be_measured_is_an_error_in_every_point(model: Model) -> None:
    save_points([*judged(model, 0), point(model, "count"), point(model, "count", day=1)])

    rows = mark_errors(model.pk, "day", DAY, "no memory")

    errors = MetricPoint.objects.filter(status="error")
    assert (rows, errors.count()) == (2, 3)
    assert {point.start for point in errors} == {DAY}
    assert {(point.detail or {})["why"] for point in errors} == {"no memory"}
