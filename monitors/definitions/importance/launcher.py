"""Start the child that measures importance, and read how it ended."""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftline.base.errors import UNREADABLE
from inference.registry.intake.limits import IntakeLimits
from inference.registry.intake.process import run_child
from inference.registry.trials.orders import pack
from inference.signatures import Signature
from monitors.definitions.importance.orders import (
    LIMITS,
    Answer,
    ImportanceOrder,
    ImportanceRefusal,
    RowSample,
)

CHILD = "monitors.definitions.importance.child"


class NoImportance(Exception):
    """The model could not be asked; the text says why and what follows."""


def measure_importance(
    path: Path,
    sha256: str,
    signature: Signature,
    sample: Mapping[str, NDArray[Any]],
    *,
    limits: IntakeLimits = LIMITS,
) -> dict[str, float]:
    """Measure how much the answers of the model at `path` change when one feature's values are shuffled.

    Takes `limits.wall_s` seconds at most. Raises NoImportance.
    """
    try:
        answer = _ask(path, sha256, signature, sample, limits)
    except FileNotFoundError as error:
        raise NoImportance("Feature importance is missing: the version's file is gone.") from error
    if isinstance(answer, ImportanceRefusal):
        raise NoImportance(f"Feature importance is missing: {answer.reason}")
    if answer.by_feature.keys() != sample.keys() or not all(map(math.isfinite, answer.by_feature.values())):
        raise NoImportance(
            "Feature importance is missing: not all of the model's answers are finite numbers."
        )
    return answer.by_feature


def _ask(
    path: Path, sha256: str, signature: Signature, sample: Mapping[str, NDArray[Any]], limits: IntakeLimits
) -> Answer:
    with path.open("rb") as model, tempfile.TemporaryFile() as rows:
        rows.write(msgspec.msgpack.encode(_packed(signature, sample)))
        rows.seek(0)
        order = ImportanceOrder(sha256, rows.fileno(), limits)
        ending = run_child(
            CHILD,
            msgspec.json.encode(order).decode(),
            stdin=model,
            handles=[rows.fileno()],
            limits=limits,
        )
    if ending.hit_a_limit:
        return ImportanceRefusal(
            f"asked the reference's rows, the model used more than {limits.run_cpu_s} s of CPU time, "
            f"{limits.memory_bytes >> 20:,} MiB of memory or {limits.wall_s:g} s in all."
        )
    try:
        return msgspec.msgpack.decode(ending.answer, type=Answer)
    except UNREADABLE:  # of a child that died before it answered, too
        return ImportanceRefusal("the model broke the process that asked it the reference's rows.")


def _packed(signature: Signature, sample: Mapping[str, NDArray[Any]]) -> RowSample:
    texts = {name: values.tolist() for name, values in sample.items() if values.dtype == object}
    numbers = {name: pack(values.astype(np.float64)) for name, values in sample.items() if name not in texts}
    return RowSample(signature, numbers, texts, list(sample))
