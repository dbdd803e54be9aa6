"""A model of several classes of animals, and their labels."""

from datetime import timedelta
from io import BytesIO

import numpy as np

from driftline.base.periods import rfc3339
from inference.prediction_log.items import LabelItem
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.files.datasets import store_reference
from inference.registry.models import Model
from monitors.definitions.models import Reference
from monitors.definitions.services import build_reference
from tests.worlds.approvals import DAY

CLASSES = ("ant", "bee", "cat")


def animals(n: int, seed: int = 0) -> tuple[list[SentPrediction], list[LabelItem]]:
    """Predictions of three classes over a day, and labels drawn from their probabilities."""
    rng = np.random.default_rng(seed)
    table = rng.dirichlet([2, 1, 1], size=n)
    rows = [
        SentPrediction(
            id=f"a{number}",
            timestamp=rfc3339(DAY + timedelta(days=number / n)),
            version="1",
            features={"legs": float(number % 7)},
            prediction=CLASSES[int(p.argmax())],
            probabilities=dict(zip(CLASSES, p.tolist(), strict=True)),
        )
        for number, p in enumerate(table)
    ]
    labels = [
        LabelItem(id=row.id, label=CLASSES[rng.choice(3, p=p)], timestamp=None)
        for row, p in zip(rows, table, strict=True)
    ]
    return rows, labels


def tell_classes(model: Model) -> None:
    """Give a reference, from which an external version's classes are learnt."""
    rows, labels = animals(300, seed=1)
    lines = ["legs,label,prediction," + ",".join(f"probability_{name}" for name in CLASSES)]
    lines += [
        f"{row.features['legs']},{item.label},{row.prediction},"
        + ",".join(str(row.probabilities[name]) for name in CLASSES)
        for row, item in zip(rows, labels, strict=True)
    ]
    stream = BytesIO("\n".join(lines).encode())
    store_reference(model=model, version="1", stream=stream, content_type="text/csv", actor="test")
    build_reference(Reference.objects.get(model=model).pk)
