"""A variant against its original on this machine: their answers, and how long they take, turn by turn."""

import time
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from inference.runtime.session import Array, ModelRefused, OnnxSession
from inference.runtime.variants.base import Feed

BATCH_SIZES = (1, 64)
MAX_TURNS = 1_000
MIN_TURNS = 15
SECONDS = 2.0
"""Of one batch size: a slow model is known by fewer turns."""
ANSWER_SECONDS = 15.0
"""After so long no further rows are asked."""
_WARM_TURNS = 5
_Z95 = 1.96


class Timing(Struct, frozen=True):
    """How long a run of `rows` rows takes, in microseconds; `quartiles` are the 25th, 50th and 75th percentile.

    `ratio` is the median of variant / original over the turns, in each of which both ran; the bounds hold it with 95%
    confidence (order statistics), so a disturbance that lasts longer than a turn touches both alike.
    """

    rows: int
    turns: int
    original_us: tuple[float, float, float]
    variant_us: tuple[float, float, float]
    variant_p99_us: float
    original_p99_us: float
    ratio: float
    ratio_lower: float
    ratio_upper: float


def time_in_turns(
    original: OnnxSession, variant: OnnxSession, feed: Feed, outputs: Sequence[str]
) -> list[Timing]:
    """Time both sessions on one row and on a batch."""
    return [_time(original, variant, _rows(feed, size), outputs, size) for size in BATCH_SIZES]


def answer(session: OnnxSession, feed: Feed, outputs: Sequence[str]) -> list[Array]:
    """Answer the rows in batches of the larger size, as many as fit into ANSWER_SECONDS, an array an output.

    Raises ModelRefused where an output has not one row for each row asked.
    """
    total, size = len(next(iter(feed.values()))), BATCH_SIZES[-1]
    parts: list[list[Array]] = []
    until = time.perf_counter() + ANSWER_SECONDS
    for start in range(0, total, size):
        batch = {name: values[start : start + size] for name, values in feed.items()}
        parts.append([np.asarray(values) for values in session.run(batch, outputs)])
        _check_rows(parts[-1], min(size, total - start))
        if time.perf_counter() > until:
            break
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _check_rows(outputs: list[Array], rows: int) -> None:
    if any(values.ndim == 0 or len(values) != rows for values in outputs):
        raise ModelRefused(f"An output has not one row for each of {rows} rows asked at once.")


def _rows(feed: Feed, size: int) -> Feed:
    """Take the first rows, and begin again where there are fewer."""
    return {name: np.resize(values, (size, *values.shape[1:])) for name, values in feed.items()}


def _time(
    original: OnnxSession, variant: OnnxSession, feed: Feed, outputs: Sequence[str], rows: int
) -> Timing:
    sessions = (original, variant)
    for session in sessions * _WARM_TURNS:
        session.run(feed, outputs)
    turns: list[tuple[float, float]] = []
    began = time.perf_counter()
    while len(turns) < MIN_TURNS or (len(turns) < MAX_TURNS and time.perf_counter() - began < SECONDS):
        first = len(turns) % 2  # who runs second finds the caches as the other left them
        seconds = [0.0, 0.0]
        for place in (first, 1 - first):
            started = time.perf_counter()
            sessions[place].run(feed, outputs)
            seconds[place] = time.perf_counter() - started
        turns.append((seconds[0], seconds[1]))
    return _timing(np.array(turns) * 1e6, rows)


def _timing(turns_us: NDArray[np.float64], rows: int) -> Timing:
    quartiles = np.quantile(turns_us, [0.25, 0.5, 0.75], axis=0)
    p99 = np.quantile(turns_us, 0.99, axis=0)
    ratios = np.sort(turns_us[:, 1] / turns_us[:, 0])
    reach = _Z95 / 2 / np.sqrt(len(ratios))
    lower, ratio, upper = np.quantile(ratios, [max(0.5 - reach, 0), 0.5, min(0.5 + reach, 1)])
    return Timing(
        rows=rows,
        turns=len(turns_us),
        original_us=tuple(quartiles[:, 0].tolist()),
        variant_us=tuple(quartiles[:, 1].tolist()),
        original_p99_us=float(p99[0]),
        variant_p99_us=float(p99[1]),
        ratio=float(ratio),
        ratio_lower=float(lower),
        ratio_upper=float(upper),
    )
