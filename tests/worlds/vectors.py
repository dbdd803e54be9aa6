"""The small world with a vector among its features, of which each row is drawn anew."""

from datetime import datetime
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace
from numpy.typing import NDArray

from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.files.datasets import store_reference
from inference.registry.models import Model
from monitors.definitions.models import Reference
from monitors.definitions.services import build_reference
from tests.worlds.approvals import rows_of_a_day

DIMENSION = 48


def vectors_of(
    rows: int, *, shift: float = 0.0, seed: int = 0, dimension: int = DIMENSION
) -> NDArray[np.float64]:
    """Draw vectors; `shift` moves them by that many times their spread, in one direction."""
    rng = np.random.default_rng([seed, 7])
    away = np.random.default_rng(1).normal(size=dimension)
    return rng.normal(size=(rows, dimension)) + shift * np.sqrt(dimension) * away / np.linalg.norm(away)


def rows_with_vectors(day: datetime, n: int, *, shift: float = 0.0) -> list[SentPrediction]:
    vectors = vectors_of(n, shift=shift, seed=day.toordinal())
    return [
        replace(row, features={"income": row.features["income"], "photo": vector.tolist()})
        for row, vector in zip(rows_of_a_day(day, n), vectors, strict=True)
    ]


def reference_file(rows: int = 2_000, dimension: int = DIMENSION) -> BytesIO:
    income = np.random.default_rng(2).normal(size=rows)
    flat = pa.array(vectors_of(rows, seed=99, dimension=dimension).astype(np.float32).ravel())
    table = pa.table({"income": income, "photo": pa.FixedSizeListArray.from_arrays(flat, dimension)})
    file = BytesIO()
    pq.write_table(table, file)
    file.seek(0)
    return file


def give_reference(model: Model, dimension: int = DIMENSION) -> None:
    store_reference(
        model=model,
        version="1",
        stream=reference_file(dimension=dimension),
        content_type="application/vnd.apache.parquet",
        actor="test",
    )
    build_reference(Reference.objects.get(model=model).pk)
