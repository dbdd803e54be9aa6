"""Adds batches of summaries to those of the log, each once.

An hour's windows go where the log's own would: into its summary and its day's, in the transaction that remembers the
batch. The rows behind them are never seen, so their days count as summed days: the event clock goes on, and nothing is
rebuilt from rows that are not there.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from django.db import transaction

from driftline.base.errors import Problem, invalid
from driftline.base.periods import day_of, floor, rfc3339
from inference.prediction_log.labels.services import lock_summaries
from inference.prediction_log.models import PredictionRole, SummedDay
from inference.prediction_log.rows.sent_items import AHEAD, RETENTION
from inference.prediction_log.storage.compaction import add_to_day
from inference.registry.models import Model, Version
from monitors.definitions.segment_masks import MAX_VALUES
from monitors.stats.mergeable.untrusted import decode_within, find_fault
from monitors.stats.mergeable.window_summary import UnreadableSummary, WindowSummary
from monitors.summaries.changes import FinestWindows, apply_change, finest_windows
from monitors.summaries.from_rows import RowDefinitions, RowsOfVersion
from monitors.summaries.models import Summary
from monitors.summaries.services import measure_hours
from monitors.summaries.stored import SummaryBySegment, in_windows
from monitors.summaries.uploads.layout import VersionLayout, layout_of
from monitors.summaries.uploads.models import SummaryBatch

MAX_WINDOWS = 5_000
MAX_WINDOW_BYTES = 16 << 20  # unpacked
MAX_BATCH_BYTES = 64 << 20  # unpacked
NO_WEEK = date(1970, 1, 5)
"""The week of arrival of rows that came as summaries: they have no ids, which weeks are kept for."""


class SentWindow(NamedTuple):
    """A window as it was sent: one hour of a version's rows in one role, all of them or those of a segment."""

    version: str
    role: str
    hour: datetime
    segment: str
    summary: bytes


@dataclass
class _Part:
    """The windows of one version and role, by their hours."""

    source: RowsOfVersion
    layout: VersionLayout
    by_hour: dict[datetime, SummaryBySegment]


def add_batch(
    *, model: Model, name: str, windows: Sequence[SentWindow], actor: str, now: datetime
) -> tuple[SummaryBatch, bool]:
    """Add a batch of windows; return it and whether it is new, as the same one again changes nothing.

    It is the same where all whole numbers in its hours are: a job that is repeated adds up in another order, which
    moves the last digits of sums. Raises a 409 `Problem` for other windows under the name of a batch that was added,
    and a 422 for a window that no rows of its version could have given.
    """
    parts = _read(model, windows, now)
    digest = _digest(parts)
    with transaction.atomic():
        lock_summaries(model.pk)
        if (known := SummaryBatch.objects.filter(model=model, name=name).first()) is not None:
            if known.sha256 != digest:
                raise Problem(
                    409,
                    "batch_differs",
                    f"The batch {name!r} was added with other windows; send these under a new name.",
                )
            return known, False
        rows = sum(_add(part, now) for part in parts)
        batch = SummaryBatch.objects.create(
            model=model, name=name, sha256=digest, windows=len(windows), rows=rows, added_by=actor[:200]
        )
    return batch, True


def _digest(parts: Iterable[_Part]) -> str:
    """Name what the hours of a batch count. Segments are left out: which there are may have changed meanwhile."""
    hours = sorted(
        (part.source.version.version, part.source.role, rfc3339(hour), *_counts_of(by_segment[""]))
        for part in parts
        for hour, by_segment in part.by_hour.items()
    )
    return hashlib.sha256(repr(hours).encode()).hexdigest()


def _counts_of(summary: WindowSummary) -> tuple[Any, ...]:
    columns = sorted(
        (name, column.n, column.missing, column.wrong_type) for name, column in summary.features.items()
    )
    return summary.rows, summary.labelled, summary.outcome.n if summary.outcome else 0, columns


# -- reading -----------------------------------------------------------------------------------------------------------
def _read(model: Model, windows: Sequence[SentWindow], now: datetime) -> list[_Part]:
    defined, parts = RowDefinitions.of(model), dict[tuple[str, str], _Part]()
    versions: dict[str, VersionLayout] = {}
    seen: set[tuple[str, str, datetime, str]] = set()
    left = MAX_BATCH_BYTES
    for place, sent in enumerate(windows):
        at = f"/windows/{place}"
        if sent[:4] in seen:
            raise invalid(at, "This window is in the batch twice; merge the two.", "duplicate_window")
        seen.add(sent[:4])
        if sent.version not in versions:
            versions[sent.version] = layout_of(model, _find_version(model, sent.version, at))
        layout = versions[sent.version]
        _check_place(sent, layout, at, now)
        summary, size = _decode(sent.summary, layout, min(MAX_WINDOW_BYTES, left), at)
        left -= size
        source = RowsOfVersion(model, layout.version, sent.role, defined)
        part = parts.setdefault((sent.version, sent.role), _Part(source, layout, {}))
        part.by_hour.setdefault(sent.hour, {})[sent.segment] = summary
    for part in parts.values():
        _refuse_incomplete(part)
    return list(parts.values())


def _find_version(model: Model, name: str, at: str) -> Version:
    found = model.versions.select_related("model").filter(version=name).first()
    if found is None:
        raise invalid(f"{at}/version", f"{model.name} has no version {name[:80]!r}.", "unknown_version")
    return found


def _check_place(sent: SentWindow, layout: VersionLayout, at: str, now: datetime) -> None:
    if sent.role not in PredictionRole.values:
        raise invalid(f"{at}/role", f"Use one of {', '.join(PredictionRole.values)}.", "unknown_role")
    if sent.hour != floor(sent.hour, "hour"):
        raise invalid(f"{at}/hour", "Send the start of an hour in UTC.", "not_an_hour")
    if not now - RETENTION <= sent.hour <= now + AHEAD:
        detail = f"This hour has not begun, or is older than {RETENTION.days:,} days."
        raise invalid(f"{at}/hour", detail, "timestamp_out_of_window")
    if sent.segment and layout.feature_of(sent.segment) is None:
        raise invalid(
            f"{at}/segment",
            "No feature of the layout makes such a segment: feature:value.",
            "unknown_segment",
        )


def _decode(data: bytes, layout: VersionLayout, max_bytes: int, at: str) -> tuple[WindowSummary, int]:
    try:
        summary, size = decode_within(data, max_bytes)
    except UnreadableSummary as error:
        raise invalid(
            f"{at}/summary", f"{str(error)[:1].upper()}{str(error)[1:]}.", "unreadable_summary"
        ) from error
    expected = layout.like(summary)
    if missing := [name for name in layout.unfixed if name in layout.missing or name in expected.features]:
        raise invalid(
            f"{at}/summary",
            f"Nobody has chosen a centre for {missing[0][:80]!r} yet; ask for the layout with one first.",
            "no_centre",
        )
    if fault := find_fault(summary, expected):
        raise invalid(f"{at}/summary", f"The summary cannot be right: {fault}.", "impossible_summary")
    return summary, size


def _refuse_incomplete(part: _Part) -> None:
    """Refuse a segment without its hour, or with more rows than that."""
    for hour, by_segment in part.by_hour.items():
        rows = by_segment[""].rows if "" in by_segment else 0
        for segment, summary in by_segment.items():
            if summary.rows > rows:
                raise invalid(
                    "/windows",
                    f"The segment {segment[:80]!r} has more rows than all of {rfc3339(hour)}; send the window of all "
                    'rows (segment "") in the same batch.',
                    "incomplete_hour",
                )


# -- adding ------------------------------------------------------------------------------------------------------------
def _add(part: _Part, now: datetime) -> int:
    """Add the windows of one version and role; return their rows."""
    source, hours = part.source, sorted(part.by_hour)
    finest = finest_windows(source, hours)
    stored = _stored_by_hour(part, finest, hours)
    added = {hour: _with_places(part, stored[hour], by_segment) for hour, by_segment in part.by_hour.items()}
    apply_change(source, finest, added=added)
    for hour in hours:
        end = min(hour + timedelta(hours=1, microseconds=-1), max(now, hour))
        counted = SummedDay(
            **source.fields,
            day=day_of(hour),
            week=NO_WEEK,
            start=hour,
            end=end,
            created_at=now,
            end_stored_at=now,
        )
        add_to_day(SummedDay, counted, rows=added[hour][""].rows)
    measure_hours(model_id=source.model.pk, hours=hours)
    return sum(by_segment[""].rows for by_segment in added.values())


@dataclass
class _StoredWindow:
    """The segments that the window of some hours has, and how many more values each feature may have in it."""

    segments: set[str] = field(default_factory=set)
    room: dict[str, int] = field(default_factory=lambda: defaultdict(lambda: MAX_VALUES))

    def takes(self, segment: str, feature: str | None) -> bool:
        """Return whether a segment has a place, which one that is new gets now."""
        if segment in self.segments:
            return True
        if feature is None or self.room[feature] <= 0:
            return False
        self.room[feature] -= 1
        self.segments.add(segment)
        return True


def _stored_by_hour(
    part: _Part, finest: FinestWindows, hours: Sequence[datetime]
) -> dict[datetime, _StoredWindow]:
    window_of = {}
    for hour in hours:
        span, start = finest[floor(hour, "day")]
        window_of[hour] = (span, hour if span == "hour" else start)
    stored = Summary.objects.filter(in_windows(window_of.values()), **part.source.fields)
    rows: dict[tuple[str, datetime], dict[str, int]] = defaultdict(dict)
    for span, start, segment, count in stored.values_list("span", "start", "segment", "rows"):
        rows[span, start][segment] = count
    windows: dict[tuple[str, datetime], _StoredWindow] = defaultdict(_StoredWindow)
    for window, by_segment in rows.items():
        windows[window].segments.update(by_segment)
    if features := part.layout.segments.features:
        whole = stored.filter(segment="").values_list("span", "start", "payload")
        for span, start, payload in whole.iterator():
            summary = WindowSummary.decode(bytes(payload), features=features)
            windows[span, start].room = _room_of(part.layout, summary, rows[span, start])
    return {hour: windows[window] for hour, window in window_of.items()}


def _room_of(layout: VersionLayout, stored: WindowSummary, rows: Mapping[str, int]) -> dict[str, int]:
    """Return how many more values each feature may have in a window: none where rows of its values are in no segment,
    as a new value might have some of these."""
    own, counted = Counter[str](), Counter[str]()
    for segment, count in rows.items():
        if (feature := layout.feature_of(segment)) is not None:
            own[feature] += 1
            counted[feature] += count
    return {
        name: MAX_VALUES - own[name]
        if name in stored.features and stored.features[name].n == counted[name]
        else 0
        for name in layout.segments.features
    }


def _with_places(part: _Part, window: _StoredWindow, sent: SummaryBySegment) -> SummaryBySegment:
    """Leave out segments that have no place: as those of the log, a value has all its rows of an hour in its segment or
    none, and a feature has the most frequent `MAX_VALUES`."""
    by_rows = sorted(sent, key=lambda segment: -sent[segment].rows)
    kept = [one for one in by_rows if one == "" or window.takes(one, part.layout.feature_of(one))]
    return {segment: sent[segment] for segment in kept}
