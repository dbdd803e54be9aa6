"""Reads pages and the API's lists from a standby of the database, where it may: DRIFTLINE_REPLICA_URL.

Only what a person or a token asks for with GET is read there, and only of the tables of models and monitors: who may do
what is always read from the primary, so that a right that was taken away is away at once. Whoever wrote something reads
from the primary until the standby has replayed it. A standby that is away, far behind, or no standby is not used.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from hashlib import sha256
from typing import Any, NamedTuple

from django.conf import settings
from django.core.cache import cache
from django.db import DEFAULT_DB_ALIAS, Error, connection, connections, models
from django.http import HttpRequest, HttpResponse

from driftline.base.database.base import REPLICA
from driftline.base.http.identity import reader_of

log = logging.getLogger(__name__)

MAX_LAG_SECONDS = 30.0
"""Since the standby replayed a transaction; beats of processes make some every few seconds."""
LOOK_SECONDS = 1.0
REMEMBERED_SECONDS = 2 * MAX_LAG_SECONDS
"""How long it is known where the primary was when somebody wrote: a standby that is read is never so far behind."""
_APPS = frozenset({"inference", "monitors"})
_SAFE = ("GET", "HEAD")


class _State(NamedTuple):
    """The standby as it was last seen, and `trouble` where it is not to be read."""

    replayed: int
    """Position in the primary's log, in bytes."""
    trouble: str


class _Replica:
    """The standby as this process knows it."""

    def __init__(self) -> None:
        self._looking = threading.Lock()
        self._state = _State(0, "nobody has looked yet")
        self._looked_at = float("-inf")

    def may_answer(self, reader: str) -> bool:
        """Return whether the standby is fit to be read, and has all that this reader wrote."""
        self._look_when_due()
        state = self._state
        return not state.trouble and cache.get(_key(reader), 0) <= state.replayed

    def _look_when_due(self) -> None:
        """Look, by one thread at a time; the others go by what was seen last."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS or not self._looking.acquire(blocking=False):
            return
        try:
            found = _look()
            if found.trouble != self._state.trouble:
                log.warning("replica: %s", found.trouble or "pages and lists are read from it")
            self._state = found
            self._looked_at = time.monotonic()
        finally:
            self._looking.release()


def _look() -> _State:
    try:
        with connections[REPLICA].cursor() as cursor:
            cursor.execute(
                "SELECT pg_is_in_recovery(), pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint,"
                " extract(epoch FROM now() - pg_last_xact_replay_timestamp())::float"
            )
            is_standby, replayed, age = cursor.fetchone()
    except Error as error:
        connections[REPLICA].close()
        return _State(0, f"it is away ({type(error).__name__}); the primary is read")
    if not is_standby:
        return _State(0, "DRIFTLINE_REPLICA_URL names a server that is no standby; the primary is read")
    if age is None or age > MAX_LAG_SECONDS:
        return _State(0, f"it is more than {MAX_LAG_SECONDS:.0f} s behind; the primary is read")
    return _State(replayed, "")


def describe_replica() -> str:
    """Return why the standby is not read now; empty where it is."""
    return _look().trouble


_replica = _Replica()
_reading: ContextVar[HttpRequest | None] = ContextVar("reading", default=None)
_CHOICE = "_driftline_reads_from"


class ReadFromReplica:
    """Middleware by which a safe request may be answered from the standby."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not settings.REPLICA_URL:
            return self.get_response(request)
        is_safe = request.method in _SAFE
        before = _reading.set(request if is_safe else None)
        try:
            response = self.get_response(request)
        finally:
            _reading.reset(before)
        if not is_safe and (reader := reader_of(request)) is not None:
            _note_write(reader)
        return response


def _note_write(reader: str) -> None:
    """Remember, for all processes, how far the primary's log went when this reader had written."""
    try:
        cache.set(_key(reader), _position_of_primary(), REMEMBERED_SECONDS)
    except Error:  # what was written is committed: its answer must not become an error
        log.warning("replica: how far the primary was could not be noted", exc_info=True)


def _key(reader: str) -> str:
    return f"wrote-{sha256(reader.encode()).hexdigest()}"


def _position_of_primary() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
        [position] = cursor.fetchone()
    return int(position)


class ReplicaRouter:
    """Django's database router: which server a query goes to."""

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str:
        """Return the standby where the request of this thread may read this table there."""
        request = _reading.get()
        if (
            request is None
            or model._meta.app_label not in _APPS
            or connections[DEFAULT_DB_ALIAS].in_atomic_block
        ):
            return DEFAULT_DB_ALIAS
        return _choose(request)

    def db_for_write(self, model: type[models.Model], **hints: Any) -> str:
        """Return the primary, also for rows that were read from the standby."""
        return DEFAULT_DB_ALIAS

    def allow_relation(self, *_: Any, **__: Any) -> bool:
        """Allow all: both servers hold the same rows."""
        return True

    def allow_migrate(self, db: str, *_: Any, **__: Any) -> bool:
        """Migrate the primary only; the standby follows."""
        return db == DEFAULT_DB_ALIAS


def _choose(request: HttpRequest) -> str:
    """Choose once a request, when its reader is known: all its queries see one server."""
    chosen = getattr(request, _CHOICE, None)
    if chosen is None:
        reader = reader_of(request)
        if reader is None:
            return DEFAULT_DB_ALIAS
        chosen = REPLICA if _replica.may_answer(reader) else DEFAULT_DB_ALIAS
        setattr(request, _CHOICE, chosen)
    return chosen
