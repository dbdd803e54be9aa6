"""What is stored of evidence: from which points it is added up, what it says, and what late data do to it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models import Q

from driftline.base.accounts.models import Project
from inference.registry.models import Model
from monitors.metrics.context import context_of
from monitors.metrics.evidence import add_up_evidence, evidence_sentence
from monitors.metrics.store.models import DetectorState, MetricPoint
from monitors.metrics.store.storing import forget_points, save_points
from monitors.summaries.models import StaleWindow
from tests.worlds.approvals import DAY, make_model

pytestmark = pytest.mark.django_db

QUIET = [0.7, 0.3, 0.9, 0.5, 0.6]
NEAR = [0.04, 0.06, 0.05, 0.03]
LONG = QUIET * 4 + NEAR * 5
A_DAY = timedelta(days=1)
BEGAN = DAY + timedelta(days=len(QUIET * 4))


@pytest.fixture
def model() -> Model:
    return make_model(Project.objects.create(slug="p", name="P"))


def compared(
    model: Model,
    p_values: Mapping[int, float] | Sequence[float],
    *,
    others: Mapping[str, Sequence[float]] | None = None,
    status: str = "ok",
    reference_id: int = 1,
    span: str = "day",
) -> None:
    """Store what comparisons of the income on these days said, and of `others` by name, and add it up."""
    days = p_values if isinstance(p_values, Mapping) else dict(enumerate(p_values))
    of_features = {"income": days, **{name: dict(enumerate(held)) for name, held in (others or {}).items()}}
    detail = {"reference_id": reference_id, "reference_windows": 200.0}
    points = [
        point_of(model, day, "psi", feature, status, span=span, **detail, decision_p_value=p)
        for feature, held in of_features.items()
        for day, p in held.items()
    ]
    save_points(points)
    add_up(model, days, span=span)


def point_of(
    model: Model, day: int, metric: str, feature: str, status: str, *, span: str = "day", **detail: Any
) -> MetricPoint:
    length = timedelta(days=7 if span == "week" else 1)
    start = DAY + day * length
    return MetricPoint(
        model=model, role="champion", version="", segment="", span=span, start=start, end=start + length,
        metric=metric, feature=feature, value=0.1, n=300, status=status, detail=detail,
    )  # fmt: skip


def add_up(
    model: Model, days: Mapping[int, float] | Sequence[int], *, span: str = "day", rows: Sequence[Any] = ()
) -> None:
    length = timedelta(days=7 if span == "week" else 1)
    windows = [StaleWindow(model=model, span=span, start=DAY + day * length) for day in days]
    add_up_evidence(context_of(model), windows, rows)


def evidence(
    model: Model, metric: str = "drift_evidence", feature: str = "", span: str = "day"
) -> list[MetricPoint]:
    points = MetricPoint.objects.filter(model=model, metric=metric, feature=feature, span=span)
    return list(points.order_by("start"))


def values(model: Model, **which: str) -> list[Any]:
    return [(point.start, point.value, point.status, point.detail) for point in evidence(model, **which)]


def test_near_misses_add_up_to_a_warning_with_its_onset(model: Model) -> None:
    compared(model, LONG)

    points = evidence(model)
    assert len(points) == len(LONG)
    assert {point.status for point in points[:30]} == {"ok"}
    newest = points[-1]
    assert newest.status == "warning"
    assert newest.value > newest.threshold == 3
    first, last = (datetime.fromisoformat(newest.detail.pop(name)) for name in ("onset_from", "onset_to"))
    assert newest.detail == {"onset": BEGAN.isoformat(), "windows": 20, "counted": ["income"]}
    assert first <= BEGAN <= last
    assert newest.n == 300


def test_each_feature_has_its_own_and_the_answer_is_no_input(model: Model) -> None:
    compared(model, QUIET * 8, others={"region": LONG, "prediction": LONG})

    metric = "drift_evidence_by_feature"
    assert evidence(model, metric, "income")[-1].status == "ok"
    assert evidence(model, metric, "region")[-1].status == "warning"
    assert evidence(model, metric, "prediction")[-1].status == "warning"
    assert evidence(model)[-1].detail["counted"] == ["region"]
    assert evidence(model)[-1].value < evidence(model, metric, "region")[-1].value


def test_a_day_that_stands_out_among_many_is_counted_and_said(model: Model) -> None:
    compared(model, LONG)

    compared(model, {len(LONG): 1e-9}, status="critical")

    detail = evidence(model)[-1].detail
    assert (detail["windows"], detail["standing_out"]) == (21, 1)
    assert ", 20 of them within chance, add up" in evidence_sentence("drift_evidence", 4.0, detail, A_DAY)


def test_days_that_all_stand_out_are_no_slow_drift(model: Model) -> None:
    compared(model, QUIET * 4)

    compared(model, dict.fromkeys(range(20, 40), 1e-9), status="critical")

    assert {point.status for point in evidence(model)} == {"ok"}
    assert evidence(model)[-1].value == 0


@pytest.mark.parametrize("status", ["insufficient", "error", "no_data"])
def test_windows_that_were_not_judged_add_nothing(model: Model, status: str) -> None:
    compared(model, LONG, status=status)

    assert evidence(model) == []


def test_another_reference_begins_anew(model: Model) -> None:
    compared(model, LONG)

    compared(model, {len(LONG): 0.05}, reference_id=2)

    assert evidence(model)[-2].value > 3
    assert evidence(model)[-1].value < 1


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 7])
def test_the_result_is_the_same_in_whatever_parts_windows_come(model: Model, n: int) -> None:
    compared(model, LONG)
    at_once = values(model)
    forget_points(model.pk, Q())
    DetectorState.objects.filter(model=model).delete()

    for begin in range(0, len(LONG), n):
        compared(model, {day: LONG[day] for day in range(begin, min(begin + n, len(LONG)))})

    assert values(model) == at_once


def test_late_data_change_what_follows(model: Model) -> None:
    compared(model, LONG[:25] + [0.9] * 3 + LONG[28:])
    before = values(model)

    compared(model, {day: LONG[day] for day in (27, 25, 26)})

    after = values(model)
    assert after[:25] == before[:25]
    assert all(now[1] > then[1] for now, then in zip(after[25:33], before[25:33], strict=True))
    assert after[-1][3]["windows"] == 20


def test_a_day_that_is_not_compared_any_more_keeps_none(model: Model) -> None:
    compared(model, LONG)

    compared(model, {30: 0.05}, status="insufficient")

    days = [point.start for point in evidence(model)]
    assert len(days) == len(LONG) - 1
    assert DAY + 30 * A_DAY not in days
    assert evidence(model)[-1].detail["windows"] == 19


def test_weeks_have_their_own(model: Model) -> None:
    compared(model, LONG, span="week")

    assert evidence(model) == []
    assert evidence(model, span="week")[-1].status == "warning"


class TestPerformance:
    def stored(self, model: Model, p_values: Sequence[float], *, status: str = "ok") -> list[MetricPoint]:
        points = [
            point_of(
                model, day, metric, "", status, p_value=p, reference_id=1, reference_windows=60.0,
            )
            for day, p in enumerate(p_values)
            for metric in ("log_loss", "roc_auc", "accuracy")
        ]  # fmt: skip
        save_points(points)
        return points

    def test_adds_up_as_well(self, model: Model) -> None:
        self.stored(model, LONG)

        add_up(model, range(len(LONG)))

        newest = evidence(model, "performance_evidence")[-1]
        assert newest.status == "warning"
        assert sorted(newest.detail["counted"]) == ["Accuracy", "Log loss", "ROC AUC"]
        assert newest.detail["onset"] == BEGAN.isoformat()

    def test_waits_for_labels(self, model: Model) -> None:
        self.stored(model, LONG)
        waiting = [point for point in self.stored(model, LONG[:31], status="unripe") if point.start > BEGAN]
        self.stored(model, LONG[:30])

        add_up(model, range(len(LONG)), rows=waiting)

        assert len(evidence(model, "performance_evidence")) == 30


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (
            "drift_evidence",
            "Since 3 Feb 2026 (95 %: 1 Feb to 6 Feb), 23 days that were each within chance add up to 1 : 4,000 "
            "(income, region)",
        ),
        (
            "performance_evidence",
            "Since 3 Feb 2026 (95 %: 1 Feb to 6 Feb), 23 days add up to 1 : 4,000 (income, region)",
        ),
        ("psi", ""),
    ],
)
def test_a_sentence_says_since_when_and_what_it_comes_to(metric: str, said: str) -> None:
    detail = {
        "onset": "2026-02-03T00:00:00+00:00", "onset_from": "2026-02-01T00:00:00+00:00",
        "onset_to": "2026-02-06T00:00:00+00:00", "windows": 23, "counted": ["income", "region"],
    }  # fmt: skip

    assert evidence_sentence(metric, 3.6, detail, A_DAY) == said
    assert evidence_sentence(metric, 0.0, {}, A_DAY) == ""
