"""Why an incident opened: in which order its causes come."""

from datetime import UTC, datetime, timedelta

import pytest

from driftline.base.accounts.models import Project
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.metrics.explaining.causes import rank_causes
from monitors.metrics.store.models import MetricPoint
from monitors.metrics.store.storing import save_points

DAY = datetime(2026, 1, 5, tzinfo=UTC)
ONE_DAY = timedelta(days=1)


@pytest.fixture
def model(db: None) -> Model:
    project = Project.objects.create(slug="bank", name="Bank")
    return create_model(project=project, name="approvals", task="binary", actor="test")


def fault(model: Model, feature: str, share: float, limit: float) -> MetricPoint:
    return MetricPoint(
        model=model, role="champion", span="day", start=DAY, end=DAY + ONE_DAY, metric="missing_share",
        feature=feature, value=share, n=1_000, threshold=limit, status="warning",
    )  # fmt: skip


def named(model: Model, metric: str) -> list[str]:
    return [
        cause["feature"] for cause in rank_causes(model=model, start=DAY, end=DAY + ONE_DAY, metric=metric)
    ]


def test_are_looked_for_in_the_windows_that_the_monitor_judges(model: Model) -> None:
    monday, a_week = DAY, timedelta(weeks=1)
    model.monitors.update(span="week")
    broken = fault(model, "age", 0.35, 0.3)
    broken.span, broken.end = "week", monday + a_week
    coverage = [
        MetricPoint(
            model=model, role="champion", span="week", start=monday - back * a_week,
            end=monday - back * a_week + a_week, metric="label_coverage", value=0.2 if back == 0 else 0.9, n=168,
            status="ok",
        )
        for back in range(4)
    ]  # fmt: skip
    save_points([broken, *coverage])

    causes = rank_causes(model=model, start=monday, end=monday + a_week)

    assert {cause["feature"]: cause["evidence"] for cause in causes} == {
        "label": "label coverage of the week from 5 Jan 20%, usually 90%",
        "age": "missing values in age: 35.0% of rows in the week from 5 Jan (limit 30.0%)",
    }


def test_of_windows_that_roll_are_those_that_end_in_the_period(model: Model) -> None:
    model.monitors.update(span="7d")
    inside, later = fault(model, "age", 0.35, 0.3), fault(model, "income", 0.5, 0.3)
    for one, last_day in ((inside, DAY), (later, DAY + ONE_DAY)):
        one.span, one.start, one.end = "7d", last_day - 6 * ONE_DAY, last_day + ONE_DAY
    save_points([inside, later])

    assert named(model, "faulty_features") == ["age"]


def test_faults_come_in_order_of_their_scores_however_far_beyond_their_limits(model: Model) -> None:
    save_points(
        [fault(model, "age", 0.35, 0.3), fault(model, "income", 0.2, 0.0), fault(model, "region", 0.3, 0.01)]
    )

    causes = rank_causes(model=model, start=DAY, end=DAY + ONE_DAY, metric="roc_auc")

    assert [(cause["feature"], cause["score"]) for cause in causes] == [
        ("age", 0.35),
        ("region", 0.3),
        ("income", 0.2),
    ]


@pytest.mark.parametrize("metric", ["silence", "freshness", "ingest_lag"])
def test_rows_that_did_not_come_are_explained_by_no_input(model: Model, metric: str) -> None:
    save_points([fault(model, "often", 0.3, 0.2)])

    assert named(model, "accuracy") == ["often"]
    assert named(model, metric) == []


def test_labels_that_come_late_are_ranked_among_the_faults(model: Model) -> None:
    late = MetricPoint(
        model=model, role="champion", span="day", start=DAY, end=DAY + ONE_DAY, metric="label_lag_p95",
        value=7_200.0, n=900, threshold=3_600.0, status="warning",
    )  # fmt: skip
    save_points([fault(model, "income", 0.2, 0.1), fault(model, "age", 0.9, 0.1), late])

    assert named(model, "roc_auc") == ["age", "label", "income"]
