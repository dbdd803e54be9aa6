"""Django's cache in a table that all processes share; what counts guesses and used codes is kept here.

Values are JSON. Django's own database cache unpickles what it reads, so whoever writes to the database would run code
in the web server; and it drops live rows once it holds too many, so a flood of guesses would reset the counts.
"""

from datetime import UTC, datetime
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.db import connection
from django.db.models import Q
from django.db.models.functions import Now

from driftline.base.accounts.models import CacheEntry

MAX_EXPIRED_ROWS = 100  # deleted by one write: more than it adds, so the table follows what is alive

_SET = """
INSERT INTO accounts_cacheentry (key, value, expires_at) VALUES (%s, %s::jsonb, %s)
ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, expires_at = EXCLUDED.expires_at
"""
_ADD = _SET + "WHERE accounts_cacheentry.expires_at <= now()"
_INCREASE = """
UPDATE accounts_cacheentry SET value = to_jsonb((value #>> '{}')::bigint + %s)
WHERE key = %s AND (expires_at IS NULL OR expires_at > now()) RETURNING (value #>> '{}')::bigint
"""
_DROP_EXPIRED = f"""
DELETE FROM accounts_cacheentry WHERE key IN (
    SELECT key FROM accounts_cacheentry WHERE expires_at <= now() LIMIT {MAX_EXPIRED_ROWS} FOR UPDATE SKIP LOCKED
)
"""  # what another process is dropping is skipped: two that wait for each other's rows would deadlock


class SharedCache(BaseCache):
    """Keeps each key in a row until it expires."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def add(
        self, key: Any, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Store `value` unless the key is there already; one statement, so that of two processes one succeeds."""
        return self._write(_ADD, key, value, timeout, version)

    def set(
        self, key: Any, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        self._write(_SET, key, value, timeout, version)
        with connection.cursor() as cursor:
            cursor.execute(_DROP_EXPIRED)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        alive = CacheEntry.objects.filter(_alive(), key=self._key(key, version))
        for value in alive.values_list("value", flat=True):
            return value
        return default

    def touch(self, key: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        alive = CacheEntry.objects.filter(_alive(), key=self._key(key, version))
        return bool(alive.update(expires_at=self._expires_at(timeout)))

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Add to a number, in one statement, so that nothing that two processes add is lost; ValueError without it."""
        with connection.cursor() as cursor:
            cursor.execute(_INCREASE, [delta, self._key(key, version)])
            found = cursor.fetchone()
        if found is None:
            raise ValueError(f"The cache has no number {key!r}.")
        return int(found[0])

    def delete(self, key: Any, version: int | None = None) -> bool:
        removed, _ = CacheEntry.objects.filter(key=self._key(key, version)).delete()
        return bool(removed)

    def clear(self) -> None:
        CacheEntry.objects.all().delete()

    def _write(self, sql: str, key: Any, value: Any, timeout: float | None, version: int | None) -> bool:
        encoded = CacheEntry._meta.get_field("value").get_db_prep_value(value, connection)
        with connection.cursor() as cursor:
            cursor.execute(sql, [self._key(key, version), encoded, self._expires_at(timeout)])
            return cursor.rowcount == 1

    def _key(self, key: Any, version: int | None) -> str:
        made: str = self.make_and_validate_key(key, version)
        return made

    def _expires_at(self, timeout: float | None) -> datetime | None:
        moment = self.get_backend_timeout(timeout)
        return None if moment is None else datetime.fromtimestamp(moment, UTC)


def _alive() -> Q:
    return Q(expires_at=None) | Q(expires_at__gt=Now())
