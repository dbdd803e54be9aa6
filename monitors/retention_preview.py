"""Previews what a change of what a model keeps deletes: rows, summaries, and their bytes."""

from copy import copy
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db.models import Count, Sum

from driftline.base.byte_sizes import format_bytes
from inference.prediction_log.models import size_of
from inference.prediction_log.retention.expiry import first_kept_day
from inference.prediction_log.retention.hooks import leave_by_lake
from inference.prediction_log.retention.preview import RowsToDelete, preview_rows
from inference.registry.models import Model, RowsKept
from monitors.metrics.store.expiry import first_kept, summaries_before


@dataclass(frozen=True)
class SummariesToDelete:
    """The summaries that go, with their bytes; the points of their windows go too."""

    count: int = 0
    bytes: int = 0
    before: date | None = None


@dataclass(frozen=True)
class RetentionPreview:
    """What goes, beside what is due to go anyway."""

    rows: RowsToDelete
    summaries: SummariesToDelete

    @property
    def bytes(self) -> int:
        return self.rows.bytes + self.summaries.bytes

    @property
    def sentence(self) -> str:
        """Return what goes, as a person is asked before."""
        parts = [part for part in (self._rows(), self._summaries()) if part]
        if not parts:
            return "Nothing that is stored is old enough to be deleted now."
        return f"This deletes {format_bytes(self.bytes)}: {'; and '.join(parts)}."

    def _rows(self) -> str:
        rows = self.rows
        if not rows.rows:
            return ""
        which = f"from before {rows.before}" if rows.before else "all that are stored"
        some = "all" if rows.later == rows.rows else f"{rows.later:,}"
        later = f", {some} of them once their ids need not be refused any more" if rows.later else ""
        lake = ", once they are in the lake" if rows.lake_first else ""
        return f"{rows.rows:,} rows of {rows.days:,} day{'s'[: rows.days != 1]}, {which}{lake}{later}"

    def _summaries(self) -> str:
        found = self.summaries
        if not found.count:
            return ""
        return f"{found.count:,} summaries and the points of their windows, from before {found.before}"


def preview_retention(*, model: Model, now: datetime, **changes: Any) -> RetentionPreview:
    """Count what goes when `retention_days`, `summary_retention_days` or `rows_kept` are changed; nothing is."""
    changed = copy(model)
    for name, value in changes.items():
        setattr(changed, name, value)
    has_lake = leave_by_lake(model.project)
    return RetentionPreview(
        preview_rows(model=model, changed=changed, now=now, has_lake=has_lake),
        _preview_summaries(model, changed, now),
    )


def _preview_summaries(model: Model, changed: Model, now: datetime) -> SummariesToDelete:
    """Count the summaries that go: those of rows that go with them are held by these no longer."""
    rows_since = date.max if changed.rows_kept == RowsKept.NONE else first_kept_day(changed, now)
    before, after = first_kept(model, now), first_kept(changed, now, rows_since)
    if after is None:
        return SummariesToDelete()
    due = summaries_before(model, before) if before else None
    more = summaries_before(model, after)
    if due is not None:
        more = more.exclude(pk__in=due.values("pk"))
    found = more.aggregate(count=Count("*"), size=Sum(size_of("payload", "blocks")))
    return (
        SummariesToDelete(found["count"], found["size"] or 0, after.date())
        if found["count"]
        else SummariesToDelete()
    )
