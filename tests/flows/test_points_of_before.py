"""Points that the release before stored, one row each, are the same points once they are packed."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from inference.registry.models import Model
from monitors.metrics.models import MetricPoint, PackedPoints, PointLimits
from monitors.metrics.storing import save_points
from tests.worlds.approvals import DAY, give_reference, log, rows_of_a_day, work
from tests.worlds.migrating import leaves, migrate

BEFORE = [("monitors", "0024_whole_summaries")]
A_DAY = timedelta(days=1)
FORMER = (
    "model_id", "role", "version", "span", "start", "end", "metric", "feature", "segment", "value", "n", "lower",
    "upper", "threshold", "status", "detail", "revision",
)  # fmt: skip
WHY = "At 316 rows psi exceeds 0.05 in 1.0% of windows without drift."


def former(model: Model, metric: str, day: int = 0, **fields: Any) -> dict[str, Any]:
    """A row as the release before stored it."""
    start = DAY + day * A_DAY
    return {
        "model_id": model.pk, "role": "champion", "version": "", "span": "day", "start": start, "end": start + A_DAY,
        "metric": metric, "feature": "", "segment": "", "value": 0.5, "n": 300, "lower": None, "upper": None,
        "threshold": None, "status": "ok", "detail": None, "revision": 1,
    } | fields  # fmt: skip


def insert(rows: list[dict[str, Any]]) -> None:
    names = ", ".join(f'"{name}"' for name in FORMER)
    with connection.cursor() as cursor:
        for row in rows:
            values = [row[name] for name in FORMER]
            values[FORMER.index("detail")] = None if row["detail"] is None else json.dumps(row["detail"])
            cursor.execute(
                f"INSERT INTO monitors_metricpoint ({names}, updated_at) VALUES ({', '.join(['%s'] * len(values))}, "
                "now())",
                values,
            )


def stored(model: Model, **which: Any) -> dict[tuple[str, str, datetime], tuple[Any, ...]]:
    points = MetricPoint.objects.filter(model=model, span="day", **which)
    return {
        (point.metric, point.feature, point.start): (
            point.value, point.n, point.lower, point.upper, point.threshold, point.status, point.detail, point.end,
        )
        for point in points
    }  # fmt: skip


@pytest.mark.e2e  # it applies migrations back and again
@pytest.mark.django_db(transaction=True)
def test_values_limits_and_reasons_are_kept_and_each_reason_is_stored_once(model: Model) -> None:
    psi: dict[str, Any] = {"metric": "psi", "threshold": 0.05, "value": 0.01}
    detail = {"p_value": 0.25, "why": WHY, "decides": True, "decided_by": "psi", "decision_p_value": 0.25}
    ripe_at = (DAY + 2 * A_DAY).isoformat()
    rows = [
        *(former(model, **psi, day=day, feature="income", detail=detail) for day in range(3)),
        former(model, **psi, day=3, feature="income", n=20, status="insufficient", detail=detail),
        former(model, "drifted_features", value=0.0, detail={"counted": []}),
        former(model, "accuracy", lower=0.4, upper=0.6, detail={"coverage": 1.0, "method": "wilson"}),
        former(model, "label_coverage", day=1, status="unripe", detail={"coverage": 0.0, "ripe_at": ripe_at}),
        former(model, "count", value=300.0, revision=3),
        former(model, "latency_p99", value=None, n=0, status="error", detail={"why": "no memory"}),
    ]
    migrate(BEFORE)
    insert(rows)

    migrate(leaves())

    points = stored(model)
    assert len(points) == len(rows)
    decided = {"p_value": 0.25, "why": WHY, "decides": True, "decision_p_value": 0.25}
    end = DAY + A_DAY
    assert points["psi", "income", DAY] == (0.01, 300, None, None, 0.05, "ok", decided, end)
    assert points["psi", "income", DAY + 3 * A_DAY][:6] == (None, 20, None, None, None, "insufficient")
    assert points["drifted_features", "", DAY][6] == {"counted": []}
    assert points["accuracy", "", DAY][2:4] == (0.4, 0.6)
    assert points["accuracy", "", DAY][6] == {"coverage": 1.0, "method": "wilson"}
    assert points["count", "", DAY][:2] == (300.0, 300)
    assert points["latency_p99", "", DAY][5:7] == ("error", {"why": "no memory"})
    assert MetricPoint.objects.get(metric="count").revision == 3
    assert PackedPoints.objects.get(ripe_at__isnull=False).ripe_at == DAY + 2 * A_DAY
    assert PackedPoints.objects.filter(has_errors=True).count() == 1
    assert PointLimits.objects.filter(whys__contains=[WHY]).count() == 2, "days 1 and 2 share theirs"


@pytest.mark.e2e  # it applies migrations back and again
@pytest.mark.django_db(transaction=True)
def test_what_is_measured_now_goes_back_and_comes_again_unchanged(model: Model) -> None:
    give_reference(model)
    log(model, rows_of_a_day(DAY, 300, shift=1.0))
    work(model)
    before = stored(model, version="")

    migrate(BEFORE)
    migrate(leaves())

    assert stored(model, version="") == before
    save_points(MetricPoint.objects.filter(model=model))
    assert stored(model, version="") == before
