"""Remembers for a second what busy requests read from the database again and again."""

import time
from collections.abc import Callable, Hashable

SECONDS = 1.0
_MANY = 4096


class TtlCache[Key: Hashable, Value]:
    """Remembers values for a second; an error is not remembered.

    Another process may have changed a value meanwhile: use this where a delay of a second does no harm.
    """

    def __init__(self) -> None:
        self._entries: dict[Key, tuple[float, Value]] = {}

    def get(self, key: Key, find: Callable[[], Value]) -> Value:
        """Return the value of the last second, or that of `find`; what `find` raises passes through."""
        moment = time.monotonic()
        known = self._entries.get(key)
        if known is not None and moment - known[0] < SECONDS:
            return known[1]
        value = find()
        if len(self._entries) >= _MANY:
            self._entries.clear()
        self._entries[key] = moment, value
        return value

    def forget(self) -> None:
        """Forget all values."""
        self._entries.clear()
