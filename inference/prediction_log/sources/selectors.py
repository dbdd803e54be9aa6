"""Reads of sources: what reads them, how far, and what could not be stored."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, F, Max, QuerySet, Sum
from django.db.models.functions import Now

from driftline.base.accounts.models import Project
from driftline.base.errors import not_found
from inference.prediction_log.sources.models import DeadLetter, Source, SourceConsumer, SourcePosition
from inference.prediction_log.sources.reading.adapters import settings_of

MAX_SOURCES_READ = 20
"""By one process; each takes a thread and a connection to the database."""
SILENT_AFTER = timedelta(seconds=15)
"""A consumer that has not renewed its row for so long does not run any more."""


@dataclass(frozen=True)
class SourceStatus:
    """How a source is read at present; each lag is None for kinds that count otherwise, and while it is not known."""

    state: str  # running, waiting, stopped or paused
    error: str
    consumers: int = 0
    rows_per_second: float = 0.0
    lag_messages: int | None = None
    lag_objects: int | None = None
    messages: int = 0
    rows: int = 0
    dead_letters: int = 0
    last_message_at: datetime | None = None
    stored_at: datetime | None = None

    @property
    def lag(self) -> str:
        """Write how far behind it is, in what its kind counts."""
        if self.lag_objects is not None:
            return f"{self.lag_objects:,} {'object' if self.lag_objects == 1 else 'objects'}"
        return "—" if self.lag_messages is None else f"{self.lag_messages:,}"


def sources(*, project: Project) -> QuerySet[Source]:
    """List the sources of a project."""
    return Source.objects.filter(project=project).select_related("project", "model")


def get_source(*, project: Project, name: str) -> Source:
    """Find a source of this project; another project's looks like none."""
    source = sources(project=project).filter(name=name).first()
    if source is None:
        raise not_found("source")
    return source


def sources_to_read() -> QuerySet[Source]:
    """List the sources of every project that consumers are to read now."""
    return Source.objects.filter(enabled=True, model__archived_at=None).order_by("pk")


def read_elsewhere(ids: Collection[int]) -> list[int]:
    """Return those of these sources that some consumer reads at present."""
    live = SourceConsumer.objects.filter(source__in=ids, seen_at__gt=Now() - SILENT_AFTER)
    running = live.filter(state=SourceConsumer.State.RUNNING)
    return list(running.values_list("source_id", flat=True).distinct().order_by())


def statuses_of(found: Sequence[Source]) -> dict[int, SourceStatus]:
    """Return how each of these sources is read, by its id."""
    ids = [source.pk for source in found]
    positions = SourcePosition.objects.filter(source__in=ids)
    totals: dict[int, dict[str, Any]] = {
        row["source"]: dict(row)
        for row in positions.values("source").annotate(
            known_ends=Count("end_offset"),
            sent=Sum("messages"),
            new=Sum("rows"),
            last=Max("last_message_at"),
            at=Max("stored_at"),
        )
    }
    lags = _lags_of(found)
    letters = dict(
        DeadLetter.objects.filter(source__in=ids).values_list("source").annotate(Count("pk")).order_by()
    )
    live = SourceConsumer.objects.filter(source__in=ids, seen_at__gt=Now() - SILENT_AFTER).order_by("seen_at")
    consumers: dict[int, list[SourceConsumer]] = {}
    for consumer in live:
        consumers.setdefault(consumer.source_id, []).append(consumer)
    return {
        source.pk: _status(
            source,
            totals.get(source.pk, {}),
            lags.get(source.pk, 0),
            consumers.get(source.pk, []),
            letters.get(source.pk, 0),
        )
        for source in found
    }


def _lags_of(found: Sequence[Source]) -> dict[int, int]:
    """Return for each source that is behind by how many messages; topics and tables that it reads no more are not
    counted."""
    settings, lags = {source.pk: settings_of(source) for source in found}, dict[int, int]()
    behind = SourcePosition.objects.filter(source__in=settings, end_offset__gt=F("next_offset"))
    for source_id, partition, end, place in behind.values_list(
        "source_id", "partition", "end_offset", "next_offset"
    ):
        if settings[source_id].reads(partition):
            lags[source_id] = lags.get(source_id, 0) + (end or 0) - place
    return lags


def _status(
    source: Source, totals: Mapping[str, Any], lag: int, consumers: Sequence[SourceConsumer], letters: int
) -> SourceStatus:
    counts_objects = source.kind == Source.Kind.OBJECTS
    counts_messages = (
        not counts_objects and source.kind != Source.Kind.MQTT
    )  # its brokers do not say what waits
    is_known = bool(totals.get("known_ends"))
    waiting = [one.error for one in consumers if one.state == SourceConsumer.State.WAITING]
    return SourceStatus(
        state=_state(source, consumers),
        error=_why_paused(source) or (waiting[-1] if waiting else ""),
        consumers=len(consumers),
        rows_per_second=sum(one.rows_per_second for one in consumers),
        lag_messages=lag if counts_messages and is_known else None,
        lag_objects=lag if counts_objects and is_known else None,
        messages=totals.get("sent") or 0,
        rows=totals.get("new") or 0,
        dead_letters=letters,
        last_message_at=totals.get("last"),
        stored_at=totals.get("at"),
    )


def _state(source: Source, consumers: Sequence[SourceConsumer]) -> str:
    if not source.is_read:
        return "paused"
    if not consumers:
        return "stopped"
    states = {one.state for one in consumers}
    return "running" if SourceConsumer.State.RUNNING in states else "waiting"


def _why_paused(source: Source) -> str:
    """Return why a source that nobody paused is not read; empty where it is."""
    if source.enabled and source.model.archived_at is not None:
        return f"The model {source.model.name} is archived; the source is read on once it is restored."
    return ""


def positions_of(source: Source) -> QuerySet[SourcePosition]:
    """List how far each partition of a source is stored."""
    return source.positions.order_by("partition")


def dead_letters_of(source: Source) -> QuerySet[DeadLetter]:
    """List the dead letters of a source."""
    return DeadLetter.objects.filter(source=source)


def get_dead_letter(*, source: Source, letter_id: int) -> DeadLetter:
    """Find a dead letter of this source."""
    letter = dead_letters_of(source).filter(pk=letter_id).first()
    if letter is None:
        raise not_found("dead_letter")
    return letter
