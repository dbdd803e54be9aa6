"""How far each object is stored: rows of two tables that change together, so that no object is read twice."""

import hashlib
from datetime import timedelta

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Greatest, Now

from inference.connectors.objects.store import ObjectInfo
from inference.prediction_log.sources.models import SourceObject, SourcePosition
from inference.prediction_log.sources.reading.positions import ALL_OBJECTS, begin_partition

_MAX_SHOWN_PATH = 260  # that is shown whole
FORGOTTEN_AFTER = timedelta(days=30)
"""So long after an object was deleted from the store it is known that it was read."""


def partition_of(path: str, etag: str) -> str:
    """Name the partition of an object in one version, in at most 300 characters."""
    version = hashlib.sha256(etag.encode()).hexdigest()[:12]
    if len(path) > _MAX_SHOWN_PATH:
        path = f"{path[: _MAX_SHOWN_PATH - 25]}…{hashlib.sha256(path.encode()).hexdigest()[:24]}"
    return f"{path}@{version}"


@transaction.atomic
def begin_object(source_id: int, info: ObjectInfo) -> int | None:
    """Return the row at which an object is read on; None where it was read whole, as by another consumer."""
    known, is_new = SourceObject.objects.select_for_update().get_or_create(
        source_id=source_id, path=info.path, defaults={"etag": info.etag}
    )
    if not is_new and known.etag == info.etag and known.finished_at is not None:
        return None
    if known.etag != info.etag:
        _add_up(source_id, partition_of(known.path, known.etag))
        known.etag, known.finished_at, known.is_whole = info.etag, None, False
        known.save()
    return begin_partition(source_id, partition_of(info.path, info.etag), 0)


@transaction.atomic
def finish_object(source_id: int, info: ObjectInfo, *, rows: int, is_whole: bool) -> bool:
    """Note that an object is read to its end; False where that is not stored, or another consumer did it."""
    known = SourceObject.objects.select_for_update().filter(
        source_id=source_id, path=info.path, etag=info.etag, finished_at=None
    )
    partition = partition_of(info.path, info.etag)
    stored = SourcePosition.objects.filter(source_id=source_id, partition=partition, next_offset__gte=rows)
    if not known.exists() or not stored.exists():
        return False
    known.update(finished_at=Now(), is_whole=is_whole)
    _add_up(source_id, partition)
    SourcePosition.objects.filter(source_id=source_id, partition=ALL_OBJECTS).update(
        next_offset=F("next_offset") + 1, end_offset=Greatest(F("end_offset"), F("next_offset") + 1)
    )
    return True


def forget_missing(source_id: int) -> None:
    """Forget objects that their store has not listed for `FORGOTTEN_AFTER`."""
    missing = SourceObject.objects.filter(source_id=source_id, missing_since__lt=Now() - FORGOTTEN_AFTER)
    for known in missing.filter(finished_at=None):
        with transaction.atomic():
            _add_up(source_id, partition_of(known.path, known.etag))
    missing.delete()


def note_unread(source_id: int, unread: int) -> int:
    """Note how many objects are not read yet; returns the end of `ALL_OBJECTS`, which says so."""
    finished = begin_partition(source_id, ALL_OBJECTS, 0)
    SourcePosition.objects.filter(source_id=source_id, partition=ALL_OBJECTS).update(
        end_offset=F("next_offset") + unread
    )
    return finished + unread


def _add_up(source_id: int, partition: str) -> None:
    """Add the counts of a partition to those of all objects, and delete it, so that positions stay few."""
    begin_partition(source_id, ALL_OBJECTS, 0)
    positions = SourcePosition.objects.filter(source_id=source_id)
    position = positions.select_for_update().filter(partition=partition).first()
    if position is None:
        return
    positions.filter(partition=ALL_OBJECTS).update(
        messages=F("messages") + position.messages,
        rows=F("rows") + position.rows,
        last_message_at=Greatest(F("last_message_at"), position.last_message_at),
        stored_at=Greatest(F("stored_at"), position.stored_at),
    )
    position.delete()
