"""A version of a few trees that each ask whether x is above 0, and labelled traffic that it answered."""

from datetime import UTC, datetime, timedelta
from io import BytesIO

import msgspec
import numpy as np
from django.utils import timezone

from driftline.base.accounts.models import Project
from driftline.base.periods import rfc3339
from inference.prediction_log.ingest.store import log_predictions
from inference.prediction_log.items import LabelItem
from inference.prediction_log.labels.services import log_labels
from inference.prediction_log.rows.sent_columns import PredictionBatch, columns_of
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.files.datasets import store_reference
from inference.registry.lineage import Lineage
from inference.registry.models import Version
from inference.registry.services import create_model
from inference.registry.versions import upload_version
from tests.inference.runtime.variants.small_models import stumps

DAY = datetime(2026, 1, 5, tzinfo=UTC)
IDLE = [8.0] + [0.0] * 30
"""A first tree that says all, and thirty that say nothing."""
BUSY = [8.0, 4.0, 2.0, 1.0]
"""Four trees that all matter."""


def make_version(project: Project, leaves: list[float], **objectives: object) -> Version:
    model = create_model(
        project=project, name="stumps", task="regression", actor="test",
        objectives={"label_lag_hours": 0, **objectives},
    )  # fmt: skip
    version, _ = upload_version(
        model=model,
        stream=BytesIO(stumps(leaves)),
        metadata=msgspec.json.encode({"features": [{"name": "x", "type": "float"}]}),
        lineage=Lineage(trainer="by hand"),
        actor="test",
    )
    return version


def values(rows: int) -> list[float]:
    return np.random.default_rng(0).normal(size=rows).round(3).tolist()


def truth(x: float, leaves: list[float]) -> float:
    """What the trees say of x, and a tenth of x beside, which they cannot know."""
    return (1 if x > 0 else -1) * sum(leaves) + x / 10


def log(version: Version, leaves: list[float], rows: int = 200, *, labelled: bool = True) -> None:
    """Log rows that this version answered, spread over two days."""
    sent = [
        SentPrediction(
            id=f"p{number}",
            timestamp=rfc3339(DAY + timedelta(days=2) * number / rows),
            version=version.version,
            features={"x": x},
            prediction=(1 if x > 0 else -1) * sum(leaves),
        )
        for number, x in enumerate(values(rows))
    ]
    log_predictions(
        model=version.model, batch=PredictionBatch(columns_of(sent, task="regression")), now=timezone.now()
    )
    labels = [LabelItem(id=row.id, label=truth(row.features["x"], leaves), timestamp=DAY) for row in sent]  # type: ignore[arg-type]
    if labelled:
        log_labels(model=version.model, items=labels, source="test", now=timezone.now())


def give_reference(version: Version, leaves: list[float], rows: int = 300) -> None:
    lines = ["x,label", *(f"{x},{truth(x, leaves)}" for x in values(rows))]
    store_reference(
        model=version.model,
        version=version.version,
        stream=BytesIO("\n".join(lines).encode()),
        content_type="text/csv",
        actor="test",
    )
