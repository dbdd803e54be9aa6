"""The child's work: as many of the sample's rows as a model of its speed can be asked, feature after feature."""

import hashlib
import heapq  # noqa: F401  Python and NumPy load these late, and no file opens behind the walls
import os
import time
from typing import Any

import msgspec
import numpy as np
import numpy.ma
import numpy.random
from numpy.typing import NDArray

from inference.registry.intake import sandbox
from inference.registry.trials.orders import unpack
from inference.runtime.scoring import FeatureScorer
from inference.runtime.session import ModelRefused, OnnxSession, first_line
from monitors.definitions.importance.orders import (
    BUDGET_SECONDS,
    MIN_ROWS,
    Answer,
    Importance,
    ImportanceOrder,
    ImportanceRefusal,
    RowSample,
)
from monitors.stats.causes.importance import permutation_importance

type Columns = dict[str, NDArray[Any]]

REPEATS = 3


def examine(content: bytes, order: ImportanceOrder) -> Answer:
    """Measure the importance of each feature of the sample that the order names."""
    if hashlib.sha256(content).hexdigest() != order.sha256:
        return ImportanceRefusal("the version's file is not the one that was registered; upload it again.")
    with os.fdopen(order.sample_handle, "rb") as file:
        sample = msgspec.msgpack.decode(file.read(), type=RowSample)
    rng = numpy.random.default_rng(0)
    try:
        score = FeatureScorer(OnnxSession(content), sample.signature)
        sandbox.allow_cpu(order.limits.run_cpu_s)
        asked = _as_many_as_fit(score, _columns(sample))
        return Importance(permutation_importance(score, asked, rng=rng, repeats=REPEATS))
    except ModelRefused as error:
        return ImportanceRefusal(str(error))
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        return ImportanceRefusal(f"the model fails on rows of the reference: {first_line(error)}.")


def _as_many_as_fit(score: FeatureScorer, columns: Columns) -> Columns:
    """Take fewer rows, evenly spread, where the model is so slow that all would take too long."""
    total = len(next(iter(columns.values())))
    few = min(total, MIN_ROWS)
    began = time.perf_counter()
    score(_rows(columns, np.arange(few)))
    seconds_a_row = (time.perf_counter() - began) / few
    fitting = int(BUDGET_SECONDS / (seconds_a_row * (1 + REPEATS * len(columns))))
    if fitting >= total:
        return columns
    return _rows(columns, np.unique(np.linspace(0, total - 1, max(fitting, few)).astype(int)))


def _rows(columns: Columns, rows: NDArray[np.int64]) -> Columns:
    return {name: values[rows] for name, values in columns.items()}


def _columns(sample: RowSample) -> Columns:
    return {
        name: np.array(sample.texts[name], object) if name in sample.texts else unpack(sample.numbers[name])
        for name in sample.names
    }
