"""Seals the payloads and the folded labels of chunks, and opens them: whether they are sealed is seen by their head.

Sealed bytes are MAGIC, the id of their LogKey, and what `seal` gives with both as its context. An Arrow stream never
begins like that, so that turning DRIFTLINE_ENCRYPT_LOG on or off leaves what was written before readable.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache, partial

import pyarrow as pa
from django.conf import settings
from django.db import connection
from django.db.models import Min
from django.db.models.functions import Coalesce, Now

from driftline.base.errors import Problem
from inference.prediction_log.models import LogKey, PredictionChunk
from inference.prediction_log.spool.sealing import (
    KeyMissing,
    Tampered,
    new_data_key,
    open_sealed,
    seal,
    unwrap_key,
    wrap_key,
)

MAGIC = b"DLS1"
KEY_ID_BYTES = 16
_HEAD_BYTES = len(MAGIC) + KEY_ID_BYTES


class LogUnreadable(Problem):
    """Sealed bytes of the log do not open."""

    def __init__(self, reason: str) -> None:
        super().__init__(503, "log_unreadable", f"{reason} Ask the operator to run manage.py doctor.")


class ChunkDamaged(LogUnreadable):
    """The bytes of one chunk are not what was written: its rows cannot be read, and all others can."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"A chunk of the log is damaged: {reason}")
        self.reason = reason


class UnableToSeal(Problem):
    """The home has no key to seal with, and nothing is written in plain instead."""

    def __init__(self, reason: str) -> None:
        super().__init__(503, "log_key_missing", f"{reason} Ask the operator to run manage.py doctor.")


def sealer() -> Callable[[bytes], bytes]:
    """Return what prepares contents to be written: it seals them, or leaves them as they are where nothing is sealed.

    Use it within the transaction that writes them: the key may be made in it, and then goes when it fails.
    """
    if not settings.ENCRYPT_LOG:
        return bytes
    key_id, key = _key_in_use()
    return partial(_seal, MAGIC + key_id.bytes, key)


def _seal(head: bytes, key: bytes, content: bytes) -> bytes:
    return head + seal(key, content, head)


def _key_in_use() -> tuple[uuid.UUID, bytes]:
    """Return the newest key, if it is young and opens, else a new one; it is read each time, for it may be deleted."""
    with (
        connection.cursor() as cursor
    ):  # made from a query set, the question costs more than to seal twenty batches
        cursor.execute(_NEWEST)
        newest = cursor.fetchone()
    if newest is not None:
        key_id, wrapped = newest
        try:
            return key_id, _unwrapped(bytes(wrapped))
        except KeyMissing:
            pass  # its master key is gone; what is written now can be read at least
    return make_key()


_NEWEST = """
SELECT id, wrapped FROM inference_logkey WHERE created_at > now() - interval '1 day' ORDER BY created_at DESC LIMIT 1
"""


def make_key() -> tuple[uuid.UUID, bytes]:
    """Make a key, which seals what is written from its commit on."""
    key = new_data_key()
    try:
        wrapped = wrap_key(settings.HOME, key)
    except KeyMissing as error:
        raise UnableToSeal(str(error)) from error
    made = LogKey.objects.create(wrapped=wrapped)
    return made.pk, key


def forget_unused_keys() -> int:
    """Delete the keys that were in use only before the oldest chunk was stored; returns how many.

    Chunks and their labels are sealed when or after they are stored, under a key that is a day old at most. One more
    day is for a writer that has not committed yet.
    """
    oldest = PredictionChunk.objects.aggregate(stored=Coalesce(Min("created_at"), Now()))["stored"]
    return LogKey.objects.filter(created_at__lt=oldest - timedelta(days=2)).delete()[0]


@lru_cache(maxsize=1024)
def _unwrapped(wrapped: bytes) -> bytes:
    return unwrap_key(settings.HOME, wrapped)


@lru_cache(maxsize=1024)
def _key_of(key_id: bytes) -> bytes:
    """Find the key that sealed something; it never changes, whatever wraps it."""
    found = LogKey.objects.filter(pk=uuid.UUID(bytes=key_id)).first()
    if found is None:
        raise KeyMissing("The database does not hold it.")
    return unwrap_key(settings.HOME, bytes(found.wrapped))


def is_sealed(stored: bytes | memoryview) -> bool:
    """Distinguish sealed bytes from an Arrow stream by their beginning."""
    return bytes(stored[: len(MAGIC)]) == MAGIC


def open_stored(stored: bytes | memoryview) -> bytes | memoryview:
    """Return the Arrow stream that a chunk holds, whether it is sealed or not; raises LogUnreadable."""
    if not is_sealed(stored):
        return stored
    head = bytes(stored[:_HEAD_BYTES])
    key_id = head[len(MAGIC) :]
    try:
        return open_sealed(_key_of(key_id), stored[_HEAD_BYTES:], head)
    except KeyMissing as error:
        raise LogUnreadable(f"Key {key_id.hex()} of the log is missing: {error}") from error
    except Tampered as error:
        raise ChunkDamaged("it was changed after it had been sealed.") from error


@contextmanager
def damage_named() -> Iterator[None]:
    """Turn what Arrow says of bytes that it cannot read into ChunkDamaged."""
    try:
        yield
    except (pa.ArrowException, OSError, StopIteration, ValueError) as error:
        raise ChunkDamaged(f"{error or 'it ends too soon'}.") from error
