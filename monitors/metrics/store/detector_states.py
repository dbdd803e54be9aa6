"""Keeps what detectors knew at the beginning of each week, so that late data have only the windows since read again.

Where a window changes, a detector goes on from the last state before it. The result is the same as if all data had come
before the first look.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from driftline.base.periods import floor
from monitors.metrics.store.models import DetectorState

EVER = datetime.min.replace(tzinfo=UTC)


@dataclass
class WeeklyStates:
    """The states of one detector on one stream: from `begin` on its windows are to be read, continuing from `payload`.

    `key` names model, role, version, span and detector.
    """

    key: dict[str, Any]
    begin: datetime
    payload: bytes | None
    _reached: datetime
    _passed: list[DetectorState] = field(default_factory=list)

    @classmethod
    def before(cls, key: dict[str, Any], *, since: datetime) -> Self:
        """Find the last state before `since`, or the beginning of all; later ones are deleted."""
        states = DetectorState.objects.filter(**key)
        states.filter(until__gt=since).delete()
        last = states.order_by("-until").first()
        begin = last.until if last else EVER
        return cls(key, begin, bytes(last.payload) if last else None, begin)

    def reach(self, start: datetime, encode: Callable[[], bytes]) -> None:
        """Keep the state as it is before the window that starts at `start`, where that is the first of a week."""
        week = floor(start, "week")
        if week > self._reached:
            self._passed.append(DetectorState(**self.key, until=week, payload=encode()))
            self._reached = week

    def store(self) -> None:
        DetectorState.objects.bulk_create(self._passed)
