"""Where each partition is read on. Positions move in the transaction that stores the rows, and fence who is late."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.db import connection
from django.db.models import Case, F, Q, When
from django.db.models.functions import Coalesce, Now

from driftline.base.clock import now
from driftline.base.processes.process_names import has_ended
from inference.prediction_log.sources.models import Source, SourcePosition
from inference.prediction_log.sources.reading.messages import StreamMessage, plausible_time

ALL_OBJECTS = "(objects read whole)"
"""The partition in which the counts of finished objects are added; its offsets count objects."""


class Fenced(Exception):
    """Somebody else has stored these messages: the partition is theirs now, and nothing of this batch may be kept."""


@dataclass(frozen=True)
class Span:
    """The messages of one partition in one batch."""

    partition: str
    first: int
    next_offset: int
    messages: int
    last_us: int | None  # when the last one was sent; None also for a time that no clock shows
    cursor: str = ""


def spans_of(messages: Iterable[StreamMessage]) -> list[Span]:
    """Return the spans of a batch, in the order in which every consumer locks their positions."""
    parts: dict[str, list[StreamMessage]] = {}
    for message in messages:
        parts.setdefault(message.partition, []).append(message)
    return [
        Span(
            partition,
            part[0].offset,
            part[-1].offset + 1,
            len(part),
            plausible_time(part[-1].time_us),
            part[-1].cursor,
        )
        for partition, part in sorted(parts.items())
    ]


def move_positions(source_id: int, spans: Sequence[Span], rows: Mapping[str, int]) -> None:
    """Move positions beyond the spans in the caller's transaction; `rows` are the new ones by partition.

    Offsets may have gaps, for topics are compacted and transactions aborted; they never go back. Raises Fenced.
    """
    with connection.cursor() as cursor:
        for span in spans:
            cursor.execute(
                "UPDATE inference_sourceposition SET next_offset = %s, messages = messages + %s, rows = rows + %s, "
                "last_message_at = coalesce('epoch'::timestamptz + %s::bigint * interval '1 microsecond', "
                "last_message_at), stored_at = now(), end_offset = greatest(end_offset, %s), "
                "cursor = coalesce(nullif(%s, ''), cursor) "
                "WHERE source_id = %s AND partition = %s AND next_offset <= %s",
                [
                    span.next_offset,
                    span.messages,
                    rows.get(span.partition, 0),
                    span.last_us,
                    span.next_offset,
                    span.cursor,
                    source_id,
                    span.partition,
                    span.first,
                ],
            )
            if cursor.rowcount == 0:
                raise Fenced(span.partition)


def count_rows(source_id: int, partition: str, rows: int) -> None:
    """Count rows that were stored later than the messages around them, as those of dead letters are.

    An object that was read to its end has no position of its own any more.
    """
    positions = SourcePosition.objects.filter(source_id=source_id)
    if not positions.filter(partition=partition).update(rows=F("rows") + rows):
        positions.filter(partition=ALL_OBJECTS).update(rows=F("rows") + rows)


def read_positions(source_id: int, partitions: Sequence[str]) -> dict[str, int]:
    """Return the next offset of each of these partitions that was begun."""
    found = SourcePosition.objects.filter(source_id=source_id, partition__in=partitions)
    return dict(found.values_list("partition", "next_offset"))


def read_cursor_of(source_id: int, partition: str) -> str:
    """Return the place behind the last message of a partition that is stored; empty where none is."""
    position = SourcePosition.objects.filter(source_id=source_id, partition=partition)
    return position.values_list("cursor", flat=True).first() or ""


def begin_partition(source_id: int, partition: str, offset: int, reader: str = "") -> int:
    """Begin a partition at an offset, unless another consumer began it meanwhile; returns where it is begun."""
    position, _ = SourcePosition.objects.get_or_create(
        source_id=source_id, partition=partition, defaults={"next_offset": offset, "read_by": reader}
    )
    return position.next_offset


def read_on(source_id: int, partition: str, reader: str) -> int | None:
    """Note which process reads a partition on, and return its next offset; None where it was never begun."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE inference_sourceposition SET read_by = %s WHERE source_id = %s AND partition = %s "
            "RETURNING next_offset",
            [reader, source_id, partition],
        )
        found = cursor.fetchone()
    return found[0] if found else None


def take_from_the_dead(source_id: int, reader: str) -> list[str]:
    """Assign a process the partitions that processes of this machine read which have ended; each goes to one alone."""
    readers = SourcePosition.objects.filter(source_id=source_id).values_list("read_by", flat=True)
    ended = [name for name in readers.distinct() if has_ended(name)]
    if not ended:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH theirs AS (SELECT id FROM inference_sourceposition WHERE source_id = %s AND read_by = ANY(%s) "
            "ORDER BY partition FOR UPDATE) UPDATE inference_sourceposition AS position SET read_by = %s "
            "FROM theirs WHERE position.id = theirs.id RETURNING position.partition",
            [source_id, ended, reader],
        )
        return [partition for (partition,) in cursor.fetchall()]


def rewind_partition(source_id: int, partition: str, *, before: int, to: int) -> bool:
    """Move a position back where its partition has shrunk; False where another consumer moved it meanwhile."""
    position = SourcePosition.objects.filter(source_id=source_id, partition=partition, next_offset=before)
    return position.update(next_offset=to, end_offset=None) > 0


def note_ends(source_id: int, ends: Mapping[str, int]) -> None:
    """Store the offsets behind the last messages, of which the lag is made, and since when messages wait."""
    for partition, end in sorted(ends.items()):
        position = SourcePosition.objects.filter(source_id=source_id, partition=partition)
        is_known = Q(end_offset=end, behind_since__isnull=True, next_offset__gte=end) | Q(
            end_offset=end, behind_since__isnull=False, next_offset__lt=end
        )
        behind_since = Case(When(next_offset__lt=end, then=Coalesce("behind_since", Now())))
        position.exclude(is_known).update(end_offset=end, behind_since=behind_since)


def set_notice(source_id: int, text: str) -> None:
    """Keep what a person must know of a source, such as messages that were deleted before they were read."""
    Source.objects.filter(pk=source_id).update(notice=text[:500], notice_at=now())


def clear_notice(source_id: int, *, ending: str) -> None:
    """Forget the notice of a source that ends so, as it holds no more; another one stays."""
    found = Source.objects.filter(pk=source_id, notice__endswith=ending[:500])
    found.update(notice="", notice_at=None)
