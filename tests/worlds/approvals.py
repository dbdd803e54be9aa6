"""A small world for stories: a project, a model with an external version, and days of made-up traffic."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO

import numpy as np
import pyarrow as pa
from django.db import transaction
from django.utils import timezone

from driftline.base.accounts.models import Project
from driftline.base.periods import parse_timestamp, rfc3339
from inference.prediction_log.ingest.request_counts import add_request_counts
from inference.prediction_log.ingest.store import log_predictions
from inference.prediction_log.items import BatchResult, LabelItem
from inference.prediction_log.labels.services import log_labels
from inference.prediction_log.rows.sent_columns import PredictionBatch, columns_of
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.prediction_log.spool.record import EndedRequests, RequestCounts
from inference.registry.files.datasets import store_reference
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.definitions.models import Reference
from monitors.definitions.services import build_reference
from monitors.metrics.services import measure
from monitors.rules.judging.judge import judge
from monitors.summaries.services import summarise

DAY = datetime(2026, 1, 5, tzinfo=UTC)
FOUR_HOURS = (0, 7, 15, 23)
"""For tests of many days: each hour with rows has windows of its own that are measured."""


def make_model(project: Project, name: str = "approvals") -> Model:
    return create_model(
        project=project, name=name, task="binary", actor="test", objectives={"label_lag_hours": 0}
    )


def rows_of_a_day(
    day: datetime, n: int, *, shift: float = 0.0, seed: int = 0, hours: Sequence[int] = range(24)
) -> list[SentPrediction]:
    """Make `n` predictions spread over hours of a day; `shift` moves the income by that many standard deviations."""
    rng = np.random.default_rng([seed, day.toordinal()])
    income, region = rng.normal(shift, 1, n), rng.choice(["north", "south"], n)
    probability = 1 / (1 + np.exp(-income))
    return [
        SentPrediction(
            id=f"{day:%Y%m%d}-{number}",
            timestamp=rfc3339(_time_in(day, number / n, hours)),
            version="1",
            features={"income": float(income[number]), "region": str(region[number])},
            prediction="1" if probability[number] >= 0.5 else "0",
            probabilities=float(probability[number]),
            latency_ms=2.0,
        )
        for number in range(n)
    ]


def _time_in(day: datetime, share: float, hours: Sequence[int]) -> datetime:
    """Return when so large a share of the hours is over."""
    place, within = divmod(share * len(hours), 1)
    return day + timedelta(hours=hours[int(place)] + within)


def truths(rows: list[SentPrediction], seed: int = 1) -> list[LabelItem]:
    """Draw labels that agree with the probabilities."""
    rng = np.random.default_rng(seed)
    return [
        LabelItem(
            id=row.id,
            label=str(int(rng.random() < row.probabilities)),  # type: ignore[operator]
            timestamp=parse_timestamp(row.timestamp),
        )
        for row in rows
    ]


def table_of(n: int, *, labels: bool = True) -> pa.Table:
    """The rows of the first day, as a lake would hold them."""
    rows = rows_of_a_day(DAY, n)
    known = [one.label for one in truths(rows)] if labels else [None] * n
    return pa.table(
        {
            "timestamp": pa.array([row.timestamp for row in rows]).cast(pa.timestamp("us", "UTC")),
            "income": [row.features["income"] for row in rows],
            "region": [row.features["region"] for row in rows],
            "prediction": [row.prediction for row in rows],
            "probability": [row.probabilities for row in rows],
            "latency_ms": [row.latency_ms for row in rows],
            "label": known,
        }
    )


def reference_csv(rows: list[SentPrediction]) -> BytesIO:
    lines = ["income,region,label,prediction,probability,timestamp"]
    lines += [
        f"{row.features['income']},{row.features['region']},{label.label},{row.prediction},{row.probabilities},"
        f"{row.timestamp}"
        for row, label in zip(rows, truths(rows), strict=True)
    ]
    return BytesIO("\n".join(lines).encode())


def give_reference(model: Model, days: int = 5) -> Reference:
    rows = [row for back in range(1, days + 1) for row in rows_of_a_day(DAY - timedelta(days=back), 400)]
    store_reference(
        model=model, version="1", stream=reference_csv(rows), content_type="text/csv", actor="test"
    )
    reference = Reference.objects.get(model=model)
    build_reference(reference.pk)
    reference.refresh_from_db()
    return reference


def log(model: Model, rows: list[SentPrediction]) -> None:
    assert send(model, rows).accepted == len(rows)


def send(model: Model, rows: list[SentPrediction]) -> BatchResult:
    batch = PredictionBatch(columns_of(rows, task=model.task))
    return log_predictions(model=model, batch=batch, now=timezone.now())


def label(model: Model, labels: list[LabelItem]) -> None:
    log_labels(model=model, items=labels, source="test", now=timezone.now())


def work(model: Model) -> None:
    """Do what the workers would do, until nothing is due."""
    while summarise(model.pk) or measure(model.pk) or judge(model.pk):
        pass


def count_requests(model: Model, hour: datetime, *, role: str = "champion", **outcomes: int) -> None:
    """Add up requests as a drain does after it read them from the spool."""
    version = "1" if role == "champion" else "2"
    ended = [EndedRequests(model.pk, version, role, outcome, n) for outcome, n in outcomes.items()]
    with transaction.atomic():
        add_request_counts([RequestCounts(int(hour.timestamp()), ended)])
