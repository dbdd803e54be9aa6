"""Summaries that others made: unpacked within bounds, and searched for what no rows could have given.

What passes here adds up with our own and breaks no metric. That the rows behind it were ever there, nobody can tell.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from math import isfinite, isnan

import msgspec
import numpy as np
import zstandard

from monitors.stats.mergeable.class_scores import BITS, ClassScores, max_steps
from monitors.stats.mergeable.outcomes import (
    BinaryOutcomeSummary,
    ErrorShape,
    Moments,
    MulticlassOutcomeSummary,
    OutcomeSummary,
    RegressionOutcomeSummary,
)
from monitors.stats.mergeable.sketches import (
    MAX_DISTINCT,
    MAX_LEVELS,
    CategoricalSummary,
    Distinct,
    NumericSummary,
    cells_of,
)
from monitors.stats.mergeable.window_summary import ColumnSummary, UnreadableSummary, WindowSummary

MAX_LEVEL_LENGTH = 1_000
MAX_HOUR_ROWS = 10**12
"""Those of a year of such hours are below 2^53, up to which a float has each whole number."""
_TOLERANCE = 1e-5  # of a sum: cell means are stored as float32
_OUTCOMES = {
    "binary": BinaryOutcomeSummary,
    "multiclass": MulticlassOutcomeSummary,
    "regression": RegressionOutcomeSummary,
}


@dataclass(frozen=True)
class SummaryLayout:
    """What the summaries of a version have in common: each feature with the centre of its grid, or None for a text.

    `prediction_centre` is of a number that is answered.
    """

    task: str
    features: Mapping[str, float | None]
    prediction_centre: float | None
    classes: tuple[str, ...]


def decode_within(data: bytes, max_bytes: int) -> tuple[WindowSummary, int]:
    """Unpack a window of bytes that nobody vouches for, up to `max_bytes`; also return to how many.

    Raises `UnreadableSummary`.
    """
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= max_bytes:
            raise UnreadableSummary(
                f"it unpacks to {size if size >= 0 else 'an unknown number of'} bytes; at most {max_bytes:,} are read"
            )
        return WindowSummary.decode(data), size
    except UnreadableSummary:
        raise
    except (
        ValueError, TypeError, OverflowError, ZeroDivisionError, IndexError, AssertionError, RecursionError,
        msgspec.MsgspecError, zstandard.ZstdError,
    ) as error:  # fmt: skip
        raise UnreadableSummary(f"{len(data)} bytes are not a window summary ({error})") from error


def find_fault(summary: WindowSummary, layout: SummaryLayout) -> str:
    """Return what is wrong with a window of a version, with its column; empty where nothing is."""
    return next(_faults(summary, layout), "")


def _faults(summary: WindowSummary, layout: SummaryLayout) -> Iterator[str]:
    rows = summary.rows
    if not 0 < rows <= MAX_HOUR_ROWS:
        yield f"it counts {rows} rows; an hour has 1 to {MAX_HOUR_ROWS:,}"
    if summary.features.keys() != layout.features.keys():
        other = sorted(summary.features.keys() ^ layout.features.keys())[0]
        has = "has no column" if other in layout.features else "has a column"
        yield f"it {has} {other[:80]!r}; send exactly the features of the layout"
        return
    for name, column in summary.features.items():
        yield from _named(name, _column_faults(column, layout.features[name], rows))
    if summary.prediction is None:
        yield "it has no predictions"
    else:
        yield from _named("prediction", _column_faults(summary.prediction, layout.prediction_centre, rows))
    for name in ("score", "latency_ms"):
        if (numbers := getattr(summary, name)) is not None:
            yield from _named(name, _number_faults(numbers, 0.0, rows))
    if summary.custom:
        yield "it has sums of custom metrics, which are computed from rows alone"
    yield from _label_faults(summary, layout)


def _named(name: str, faults: Iterator[str]) -> Iterator[str]:
    return (f"{name[:80]}: {fault}" for fault in faults)


# -- columns -----------------------------------------------------------------------------------------------------------
def _column_faults(column: ColumnSummary, centre: float | None, rows: int) -> Iterator[str]:
    if isinstance(column, CategoricalSummary):
        if centre is not None:
            yield "it is a number of the layout, and was counted as texts"
        else:
            yield from _category_faults(column, rows)
    elif centre is None:
        yield "it is a text of the layout, and was counted as numbers"
    else:
        yield from _number_faults(column, centre, rows)


def _number_faults(column: NumericSummary, centre: float, rows: int | None) -> Iterator[str]:
    if column.centre != centre:
        yield f"its grid has the centre {column.centre}, and the layout's is {centre}"
    if min(column.n, column.missing, column.infinite, column.wrong_type) < 0:
        yield "a count is negative"
    if rows is not None and column.rows != rows:
        yield f"it has {column.rows:,} values in {rows:,} rows"
    yield from _cell_faults(column)


def _cell_faults(column: NumericSummary) -> Iterator[str]:
    keys, counts, sums = column.keys.astype(np.int64), column.counts, column.sums
    if not keys.size == counts.size == sums.size or bool((np.diff(keys) <= 0).any()):
        yield "its cells do not ascend"
        return
    if bool((counts < 1).any()) or sum(counts.tolist()) != column.n:
        yield f"its cells do not hold the {column.n:,} values that it counts"
        return
    if not column.n:
        if column.total or column.total_sq or not (isnan(column.minimum) and isnan(column.maximum)):
            yield "it has sums or extremes and no values"
        return
    if not (np.isfinite(sums).all() and isfinite(column.total) and isfinite(column.total_sq)):
        yield "a sum is not finite"
        return
    if not -np.inf < column.minimum <= column.maximum < np.inf:
        yield f"its least value {column.minimum} is above its greatest {column.maximum}"
        return
    scale = float(np.abs(sums).sum()) + abs(column.total)
    if abs(float(sums.sum()) - column.total) > _TOLERANCE * scale:
        yield "its cells do not add up to its total"
    if column.total_sq * (1 + _TOLERANCE) < column.total * (column.total / column.n):
        yield "its sum of squares is less than its total allows"
    farthest = max(abs(column.minimum - column.centre), abs(column.maximum - column.centre))
    if max(farthest, float(np.abs(column.offsets).max())) > float(np.finfo(np.float32).max):
        yield "a value lies beyond the grid"
        return
    if column.total_sq > column.n * farthest * farthest * (1 + _TOLERANCE):
        yield "its sum of squares is more than its values allow"
    extremes = np.array([column.minimum, column.maximum]) - column.centre
    if _are_apart(cells_of(extremes), keys[[0, -1]]):
        yield "its least or greatest value lies in no cell of its ends"
    if _are_apart(cells_of(column.offsets), keys):
        yield "a cell does not hold its mean"
    if column.distinct is not None:
        yield from _distinct_faults(column.distinct, column.n)


def _are_apart(cells: np.ndarray, keys: np.ndarray) -> bool:
    """Return whether cells are others; a mean that was rounded may lie in the next one."""
    return bool((np.abs(cells.astype(np.int64) - keys.astype(np.int64)) > 1).any())


def _distinct_faults(distinct: Distinct, n: int) -> Iterator[str]:
    if distinct.values.size > MAX_DISTINCT or bool((np.diff(distinct.values) <= 0).any()):
        yield "its distinct values do not ascend, or are too many"
    if bool((distinct.counts < 1).any()) or sum(distinct.counts.tolist()) != n:
        yield f"its distinct values are not the {n:,} that it counts"


def _category_faults(column: CategoricalSummary, rows: int) -> Iterator[str]:
    if min(column.n, column.missing, column.rest, column.wrong_type, *column.counts.values(), 0) < 0:
        yield "a count is negative"
    if len(column.counts) > MAX_LEVELS:
        yield f"it names {len(column.counts):,} levels; at most {MAX_LEVELS:,} are named"
    if any(len(level) > MAX_LEVEL_LENGTH or "\0" in level for level in column.counts):
        yield f"a level has a zero byte or more than {MAX_LEVEL_LENGTH:,} characters"
    if sum(column.counts.values()) + column.rest != column.n:
        yield f"its levels do not hold the {column.n:,} values that it counts"
    if column.rows != rows:
        yield f"it has {column.rows:,} values in {rows:,} rows"


# -- labels ------------------------------------------------------------------------------------------------------------
def _label_faults(summary: WindowSummary, layout: SummaryLayout) -> Iterator[str]:
    labelled, outcome = summary.labelled, summary.outcome
    if not 0 <= labelled <= summary.rows:
        yield f"it counts {labelled:,} labels of {summary.rows:,} rows"
    if summary.label_lag_s is not None:
        yield from _named("label_lag_s", _number_faults(summary.label_lag_s, 0.0, None))
        if summary.label_lag_s.rows > labelled:
            yield "it has more lags of labels than labels"
    if outcome is None:
        return
    if not isinstance(outcome, _OUTCOMES[layout.task]):
        yield f"its outcome is not of the task {layout.task}"
        return
    counted = _labels_in(outcome)
    if counted > labelled:
        yield f"its outcome counts {counted:,} of {labelled:,} labels"
        return
    yield from _named("outcome", _outcome_faults(outcome, layout))


def _labels_in(outcome: OutcomeSummary) -> int:
    """Count the labels of an outcome in whole numbers, which an array's sum would overflow."""
    if isinstance(outcome, MulticlassOutcomeSummary):
        return sum(map(abs, outcome.confusion.ravel().tolist())) + outcome.unknown
    return outcome.n


def _outcome_faults(outcome: OutcomeSummary, layout: SummaryLayout) -> Iterator[str]:
    for one in fields(outcome):
        value = getattr(outcome, one.name)
        if isinstance(value, Moments):
            yield from _named(one.name, _moment_faults(value, outcome.n))
        elif isinstance(value, NumericSummary):
            yield from _named(one.name, _number_faults(value, 0.0, None))
            if value.rows > outcome.n:
                yield f"{one.name} has more values than there are labels"
        elif isinstance(value, ClassScores):
            yield from _named(one.name, _score_faults(value, len(layout.classes), outcome.n))
        elif isinstance(value, int) and value < 0:
            yield f"{one.name} is negative"
        elif isinstance(value, ErrorShape):
            if any(isnan(getattr(value, part.name)) for part in fields(value)):
                yield f"{one.name} is not a number"
        elif isinstance(value, float) and isnan(value):
            yield f"{one.name} is not a number"
    match outcome:
        case BinaryOutcomeSummary():
            if outcome.tp + outcome.fp + outcome.tn + outcome.fn != outcome.n:
                yield "its confusion does not add up to its rows"
        case MulticlassOutcomeSummary():
            if outcome.classes != layout.classes:
                yield "its classes are not those of the version, in their order"
            if bool((outcome.confusion < 0).any()):
                yield "a cell of its confusion is negative"
        case RegressionOutcomeSummary():
            if outcome.label_spread < 0:
                yield "label_spread is negative"
            if outcome.ranking is not None:
                yield "it has queries of a ranking"


def _score_faults(scores: ClassScores, classes: int, n: int) -> Iterator[str]:
    """Find what no rows give: each row counts once in every class, and is of one."""
    steps, dropped = scores.steps, scores.dropped_bits
    if not 0 <= dropped <= BITS or not steps.size == scores.positives.size <= max_steps(classes):
        yield "it has other steps than its classes may have"
    elif steps.size and (bool((np.diff(steps, prepend=-1) <= 0).any()) or int(steps[-1]) >> BITS >= classes):
        yield "its steps do not ascend, or are of no class"
    elif bool((scores.positives < 0).any() or (scores.negatives < 0).any()):
        yield "a count is negative"
    elif steps.size:
        positives, negatives = (
            np.bincount(scores.classes, counts, classes) for counts in (scores.positives, scores.negatives)
        )
        rows = positives.sum()
        if rows > n or bool((positives + negatives != rows).any()):
            yield f"its classes do not count the same of {n:,} rows"


def _moment_faults(moments: Moments, n: int) -> Iterator[str]:
    if not 0 <= moments.n <= n:
        yield f"it counts {moments.n:,} of {n:,} rows"
    if isnan(moments.total) or isnan(moments.total_sq):
        yield "a sum is not a number"
    elif not moments.n and (moments.total or moments.total_sq):
        yield "it has sums of no rows"
    elif not moments.n or not isfinite(moments.total):
        return  # the squares of such errors fit no float: the metric says nothing then
    elif moments.total_sq * (1 + _TOLERANCE) < moments.total * (moments.total / moments.n):
        yield "its sum of squares is less than its total allows"
