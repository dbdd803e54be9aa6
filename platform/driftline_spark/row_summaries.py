"""Summarises Arrow batches of logged predictions by version, role, hour and segment; runs on each worker.

A row has a `timestamp`, the features of its version, a `prediction`, and what there is of `probability` (a number, or
one a class), `latency_ms`, `label`, `label_timestamp`, `version` and `role`. The result is what Driftline keeps of the
same rows; those that its log would refuse are left out, and a line of Python's logging on the worker says how many.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import zstandard

from driftline.base.periods import HOUR_US, to_us
from driftline_spark.layout import RowLayout, WindowRow
from driftline_spark.logged_rows import (
    NAME_LENGTH,
    AcceptedTimes,
    LoggedRows,
    read_rows,
    texts_or,
    with_parts_of_vectors,
    without_refused,
)
from inference.prediction_log.rows.sent_items import (
    AHEAD,
    DEFAULT_ROLE,
    RETENTION,
    ROLES,
)
from monitors.stats.mergeable.window_summary import WindowSummary, merge_windows

MAX_VALUES = 50
"""Values of a feature that are segments of their own in an hour; a feature with more of them has none in it."""
MAX_HOUR_BYTES = 22 << 20  # a third more when written in base64
MAX_UNPACKED_BYTES = 60 << 20
"""What the windows of an hour may have in one request; segments that do not fit are left out."""
ROWS_TOGETHER, BYTES_TOGETHER = 200_000, 128 << 20
_PATIENCE = timedelta(days=1)  # until what is summarised now has been sent

_log = logging.getLogger(__name__)


class WindowKey(NamedTuple):
    version: str
    role: str
    hour_us: int
    segment: str


type Windows = dict[WindowKey, WindowSummary | None]
"""The summary of each window; None stands for a feature with too many values, by the segment `feature:`."""


def summarise_batches(
    batches: Iterable[pa.RecordBatch],
    layouts: Mapping[str, RowLayout],
    *,
    now: datetime,
    version: str = "",
    role: str = DEFAULT_ROLE,
) -> Iterator[WindowRow]:
    """Summarise the rows of one partition; `layouts` is by version, and `version` and `role` of rows that name none.

    Raises ValueError for a row of a version without a layout.
    """
    accepted = AcceptedTimes(to_us(now - RETENTION + _PATIENCE), to_us(now + AHEAD))
    found: Windows = {}
    left_out = Counter[str]()
    for table in _together(batches):
        found = merged([found, _summarise_table(table, layouts, version, role, accepted, left_out)])
    if left_out:
        reasons = ", ".join(f"{rows:,} for the {column}" for column, rows in sorted(left_out.items()))
        _log.warning(
            "%s rows were left out, which the log would refuse: %s", f"{left_out.total():,}", reasons
        )
    yield from encoded(found)


def merged(parts: Iterable[Windows]) -> Windows:
    """Add up windows of the same key."""
    by_key: dict[WindowKey, list[WindowSummary | None]] = {}
    for part in parts:
        for key, summary in part.items():
            by_key.setdefault(key, []).append(summary)
    return {
        key: None if None in some else merge_windows([one for one in some if one is not None])
        for key, some in by_key.items()
    }


def encoded(windows: Windows) -> Iterator[WindowRow]:
    for key, summary in windows.items():
        yield WindowRow(*key, summary.rows if summary else 0, summary.encode() if summary else b"")


def decoded(rows: Iterable[WindowRow]) -> Windows:
    """Add up windows that were encoded."""
    return merged(
        {WindowKey(*row[:4]): WindowSummary.decode(row.summary) if row.summary else None} for row in rows
    )


def complete(rows: Iterable[WindowRow], features: Collection[str]) -> list[WindowRow]:
    """Leave out the segments of features that have too many values in an hour, or make it larger than is taken.

    `features` are those that make segments. Rows must be merged: one a window.
    """
    by_hour: dict[tuple[str, str, int], dict[str, list[WindowRow]]] = {}
    for row in rows:
        by_feature = by_hour.setdefault(row[:3], {})
        by_feature.setdefault(_feature_of(row.segment, features), []).append(row)
    return [row for by_feature in by_hour.values() for row in _fitting(by_feature)]


def _feature_of(segment: str, features: Collection[str]) -> str:
    """Return which of the features makes a segment; a name may have a colon, so the longest one that fits."""
    return max((one for one in features if segment.startswith(f"{one}:")), key=len, default="")


def _fitting(by_feature: Mapping[str, list[WindowRow]]) -> Iterator[WindowRow]:
    """Yield the windows of an hour that fit: that of all rows, and those of features, the smallest first."""
    packed, unpacked = 0, 0
    for feature, some in sorted(by_feature.items(), key=lambda one: (one[0] != "", len(one[1]), one[0])):
        if len(some) > MAX_VALUES or not all(row.summary for row in some):
            continue
        packed += sum(len(row.summary) for row in some)
        unpacked += sum(zstandard.frame_content_size(row.summary) for row in some)
        if feature and (packed > MAX_HOUR_BYTES or unpacked > MAX_UNPACKED_BYTES):
            _log.warning(
                "the segments of %s and larger ones were left out of an hour: it is too large", feature
            )
            return
        yield from some


def _together(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Put small batches together: each has a cost of its own."""
    some: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        some.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        if rows >= ROWS_TOGETHER or size >= BYTES_TOGETHER:  # vectors are long
            yield pa.Table.from_batches(some)
            some, rows, size = [], 0, 0
    if rows:
        yield pa.Table.from_batches(some)


def _summarise_table(
    table: pa.Table,
    layouts: Mapping[str, RowLayout],
    version: str,
    role: str,
    accepted: AcceptedTimes,
    left_out: Counter[str],
) -> Windows:
    found: Windows = {}
    versions, roles = texts_or(table, "version", version), texts_or(table, "role", role)
    for one_version, one_role in sorted(set(zip(versions.tolist(), roles.tolist(), strict=True))):
        if one_version not in layouts:
            raise ValueError(f"rows name version {one_version!r}; ask for its layout too")
        [places] = np.nonzero((versions == one_version) & (roles == one_role))
        if one_role not in ROLES:
            left_out["role"] += places.size
            continue
        part = table if places.size == table.num_rows else table.take(pa.array(places))
        layout = layouts[one_version]
        part = with_parts_of_vectors(part, layout, left_out)
        rows = without_refused(read_rows(part, layout, accepted), accepted, left_out)
        found |= {WindowKey(one_version, one_role, *key): summary for key, summary in _by_hour(rows).items()}
    return found


def _by_hour(rows: LoggedRows) -> dict[tuple[int, str], WindowSummary | None]:
    found: dict[tuple[int, str], WindowSummary | None] = {}
    hours = rows.times_us // HOUR_US
    for hour in np.unique(hours):
        part, start = rows.take(hours == hour), int(hour) * HOUR_US
        found[start, ""] = part.summarise()
        for feature, values in part.segments.items():
            named = [
                value
                for value in sorted(set(values.tolist()))
                if value and len(feature) + len(value) < NAME_LENGTH
            ]
            if len(named) > MAX_VALUES:
                found[start, f"{feature}:"] = None
                continue
            for value in named:
                found[start, f"{feature}:{value}"] = part.take(values == value).summarise()
    return found
