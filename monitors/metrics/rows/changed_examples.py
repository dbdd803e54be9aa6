"""Rows of a window of which a vector is unlike the reference, each with the rows of the reference nearest to it.

Vectors are compared by the numbers that are kept of them (`inference.vectors`), along directions in which distances
survive. A sample of both sides is read, so that it is answered while somebody waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple, Self

import numpy as np

from driftline.base.periods import EPOCH, Period, floor, from_us
from inference.prediction_log.queries.frames import LogFrame
from inference.prediction_log.queries.selectors import describe_row
from inference.prediction_log.queries.thumbnails import thumbnails_of
from inference.prediction_log.rows_kept import refuse_without_rows
from inference.registry.models import Model
from inference.vector_names import norm_of, vectors_in
from monitors.definitions.models import Reference
from monitors.definitions.reference_rows import read_rows
from monitors.metrics.references.from_log import find_stretches
from monitors.metrics.references.loaded import LoadedReference, reference_in_use
from monitors.metrics.references.seasons import in_season
from monitors.metrics.rows.sampling import sample_rows
from monitors.metrics.rows.segment_rows import held_rows
from monitors.stats.drift.changed_rows import NEIGHBOURS, ChangedRow, changed_rows
from monitors.stats.mergeable.sketches import FloatArray

MAX_EXAMPLES, MAX_NEAREST = 5, 3
MAX_ROWS = 2_000  # of each side that are compared
MAX_READ_ROWS = 10_000  # of each side; of longer ones a part of each piece is read
PARTS = 24
_DAY = timedelta(days=1)
_EPOCH_DAY = EPOCH.toordinal()


@dataclass(frozen=True)
class NearestExample:
    """A row of the reference: a prediction of the log, or a row of a file, counted from 1.

    `thumbnail` is a PNG as base64, where one is kept; `distance` is in units of what is usual within the reference.
    """

    prediction_id: str | None
    row: int | None
    time: datetime | None
    distance: float
    thumbnail: str | None = None


@dataclass(frozen=True)
class ChangedExample:
    """A prediction unlike the reference, with its distance to the k-th nearest row there and in its own window."""

    prediction_id: str
    time: datetime
    prediction: str | float | None
    label: str | None
    from_reference: float
    from_window: float
    nearest: list[NearestExample]
    thumbnail: str | None = None


@dataclass(frozen=True)
class ChangedExamples:
    """Predictions unlike the reference, most of all first, of so many compared rows; `note` is why there is none."""

    items: list[ChangedExample]
    rows: int = 0
    reference_rows: int = 0
    note: str = ""


class _Place(NamedTuple):
    """Where a row is: in rows of the log, or in a file as the row of that number."""

    frame: LogFrame | None
    row: int


@dataclass(frozen=True, eq=False)
class _Side:
    """Rows with a vector: its numbers, a row each, and where each row is."""

    numbers: FloatArray
    places: Sequence[_Place]

    def sample(self, rng: np.random.Generator) -> Self:
        """Leave out rows without a vector, and draw as many as are compared."""
        rows = np.flatnonzero(np.isfinite(self.numbers).all(axis=1))
        if rows.size > MAX_ROWS:
            rows = np.sort(rng.choice(rows, MAX_ROWS, replace=False))
        return type(self)(self.numbers[rows], [self.places[row] for row in rows.tolist()])


def changed_examples(*, model: Model, feature: str, window: Period) -> ChangedExamples:
    """Find predictions of a window of which the vector `feature` is unlike what the window is compared with.

    Raises Problem `rows_not_kept` (409) for a model that keeps no rows.
    """
    refuse_without_rows(model, "A look at changed examples")
    found = reference_in_use(model=model, version_id=model.deployment.champion_id, window=window)
    if found is None:
        return ChangedExamples([], note="There is no reference to compare with.")
    reference = in_season(found, window)
    names = [
        name for name in vectors_in(reference.summary.features).get(feature, ()) if name != norm_of(feature)
    ]
    if not names:
        return ChangedExamples([], note=f"{feature} is no vector of the reference.")
    rng = np.random.default_rng(abs(int(window.start.timestamp())))
    rows = _logged_rows(model, [window], names, _rows_in(model, window), rng)
    try:
        usual = _reference_rows(model, reference, window, names, rng)
    except FileNotFoundError:
        return ChangedExamples([], note="The reference's file is missing; upload it again.")
    counts = len(rows.places), len(usual.places)
    if min(counts) <= NEIGHBOURS:
        return ChangedExamples([], *counts, _why_none(*counts))
    changed = changed_rows(usual.numbers, rows.numbers, count=MAX_EXAMPLES, nearest=MAX_NEAREST)
    if not changed:
        return ChangedExamples([], *counts, "None stands out.")
    return ChangedExamples(_with_thumbnails(model, [_example(one, rows, usual) for one in changed]), *counts)


def _why_none(rows: int, reference_rows: int) -> str:
    """Return which side has too few rows that are kept with a vector."""
    side, count = ("this time", rows) if rows <= NEIGHBOURS else ("the reference", reference_rows)
    if not count:
        return f"Rows of {side} are not kept with this vector, or had none."
    return f"Too few rows of {side} are kept with this vector: {count}, and {NEIGHBOURS + 1} are needed."


# -- rows of the log ---------------------------------------------------------------------------------------------------
def _rows_in(model: Model, window: Period) -> int:
    """Estimate the rows of a window by those of the days that it touches."""
    rows, _ = held_rows(model, window)
    days = -((floor(window.start, "day") - window.end) // _DAY)
    return max(1, round(rows * (window.length / (days * _DAY))))


def _logged_rows(
    model: Model, pieces: Sequence[Period], names: Sequence[str], rows: int, rng: np.random.Generator
) -> _Side:
    """Read about `MAX_READ_ROWS` of the rows that pieces of the log have together."""
    share = len(pieces)
    frames = [
        frame
        for piece in pieces
        for frame in sample_rows(
            model=model,
            window=piece,
            rows=-(-rows // share),
            most=max(1, MAX_READ_ROWS // share),
            parts=max(1, PARTS // share),
            rng=rng,
        )
    ]
    held = [frame for frame in frames if len(frame) and all(name in frame.features for name in names)]
    if not held:
        return _Side(np.empty((0, len(names))), [])
    numbers = np.vstack([np.column_stack([frame.features[name] for name in names]) for frame in held])
    places = [_Place(frame, row) for frame in held for row in range(len(frame))]
    return _Side(numbers.astype(np.float64), places).sample(rng)


# -- rows of the reference ---------------------------------------------------------------------------------------------
def _reference_rows(
    model: Model, reference: LoadedReference, window: Period, names: Sequence[str], rng: np.random.Generator
) -> _Side:
    stored = Reference.objects.select_related("version__model", "dataset", "model").get(pk=reference.id)
    if stored.kind == Reference.Kind.FILE:
        return _rows_of_file(stored, reference, names, rng)
    stretches = [one.period for one in find_stretches(stored, window).found]
    pieces = [one for one in stretches if not reference.part or one.start.date() in reference.dates]
    return _logged_rows(model, pieces, names, reference.summary.rows, rng)


def _rows_of_file(
    stored: Reference, reference: LoadedReference, names: Sequence[str], rng: np.random.Generator
) -> _Side:
    """Read rows of a reference's file; of a part of one those of its days."""
    read = read_rows(stored, names, most=MAX_READ_ROWS)
    if not all(name in read.features for name in names):
        return _Side(np.empty((0, len(names))), [])
    numbers = np.column_stack([read.features[name] for name in names])
    chosen = np.arange(len(numbers))
    if reference.part and read.hours is not None:
        days = [day.toordinal() - _EPOCH_DAY for day in reference.dates]
        chosen = np.flatnonzero(np.isin(read.hours // 24, days))
    places = [_Place(None, row) for row in read.places[chosen].tolist()]
    return _Side(numbers[chosen], places).sample(rng)


# -- what is said of them ----------------------------------------------------------------------------------------------
def _example(changed: ChangedRow, rows: _Side, usual: _Side) -> ChangedExample:
    frame, row = rows.places[changed.place]
    assert frame is not None
    return ChangedExample(
        prediction_id=str(frame.ids[row]),
        time=from_us(int(frame.times_us[row])),
        prediction=describe_row(frame, row)["prediction"],
        label=frame.label[row],
        from_reference=changed.from_reference,
        from_window=changed.from_window,
        nearest=[_nearest(usual.places[one.place], one.distance) for one in changed.nearest],
    )


def _nearest(place: _Place, distance: float) -> NearestExample:
    frame, row = place
    if frame is None:
        return NearestExample(None, row, None, distance)
    time = from_us(int(frame.times_us[row]))
    return NearestExample(str(frame.ids[row]), None, time, distance)


def _with_thumbnails(model: Model, examples: Sequence[ChangedExample]) -> list[ChangedExample]:
    """Read the thumbnails of the few rows that are shown."""
    times = {one.prediction_id: one.time for one in examples}
    times |= {
        row.prediction_id: row.time
        for one in examples
        for row in one.nearest
        if row.prediction_id and row.time
    }
    drawn = thumbnails_of(model=model, times=times)
    return [
        replace(
            one,
            thumbnail=drawn.get(one.prediction_id),
            nearest=[replace(row, thumbnail=drawn.get(row.prediction_id or "")) for row in one.nearest],
        )
        for one in examples
    ]
