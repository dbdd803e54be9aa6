"""Remembers for a second what busy requests read from the database again and again."""

import time
from collections.abc import Callable, Hashable

SECONDS = 1.0
_MANY = 4096


class TtlCache[Key: Hashable, Value]:
    """Gives what was found within the last second; nothing that was not found is remembered.

    Another process may have changed it meanwhile: use this where a second's delay is promised to nobody's harm.
    """

    def __init__(self) -> None:
        self._found: dict[Key, tuple[float, Value]] = {}

    def get(self, key: Key, find: Callable[[], Value]) -> Value:
        """Give what `find` gave within the last second, else ask it; what it raises passes through."""
        moment = time.monotonic()
        known = self._found.get(key)
        if known is not None and moment - known[0] < SECONDS:
            return known[1]
        value = find()
        if len(self._found) >= _MANY:
            self._found.clear()
        self._found[key] = moment, value
        return value

    def forget(self) -> None:
        """Ask again from now on."""
        self._found.clear()
