"""The Page-Hinkley test: how far a stream's sum has risen above its lowest, and fallen below its highest.

Page, "Continuous Inspection Schemes", Biometrika 41, 1954; Hinkley, "Inference about the change-point from cumulative
sum tests", Biometrika 58, 1971. Each value adds its distance from the mean of all values so far, less an allowance; a
change is where the sum has come further than a threshold from its lowest, and it began after the lowest (Hinkley's
estimate). Allowance and threshold count in units: of 1, or of the values' own standard deviation so far, by which a
factor on all values changes nothing.
"""

from __future__ import annotations

import math

import msgspec

from monitors.stats.streams.change import Change, UnreadableState

ALLOWANCE = 0.5  # half of the smallest change that matters, as a cumulative sum has it
THRESHOLD = 10.0
MIN_VALUES = 14  # from this many on a change is reported


class _Side(msgspec.Struct, array_like=True):
    """The sum of one direction, and what had been seen when it was lowest."""

    sign: int
    sum: float = 0.0
    lowest: float = math.inf
    n: int = 0
    total: float = 0.0
    since: int = 0  # the mark of the value after the lowest


def _both_sides() -> list[_Side]:
    return [_Side(1), _Side(-1)]


class PageHinkley(msgspec.Struct, array_like=True):
    """The test in both directions; it begins anew after each change.

    `unit` None is the standard deviation of the values so far; `fading` is what is left of a sum after a value.

    >>> test = PageHinkley()
    >>> changes = [test.update(value, mark) for mark, value in enumerate([0.12, 0.1] * 20 + [0.5, 0.52] * 10)]
    >>> [(change.since, round(change.before, 2), round(change.after, 2)) for change in changes if change]
    [(40, 0.11, 0.51)]
    """

    allowance: float = ALLOWANCE
    threshold: float = THRESHOLD
    fading: float = 1.0
    unit: float | None = None
    n: int = 0
    total: float = 0.0
    mean: float = 0.0
    spread: float = 0.0  # the sum of squared deviations from the mean
    sides: list[_Side] = msgspec.field(default_factory=_both_sides)

    def update(self, value: float, mark: int) -> Change | None:
        """Add a value, which `mark` names, and tell whether the mean has changed before it."""
        for side in self.sides:
            if side.n == self.n:  # the lowest was before this value
                side.since = mark
        self._count(value)
        unit = self._unit()
        for side in self.sides:
            self._add(side, value, unit)
        if self.n < MIN_VALUES:
            return None
        beyond = [side for side in self.sides if side.sum - side.lowest > self.threshold * unit]
        return self._begin_anew(beyond[0]) if beyond else None

    def encode(self) -> bytes:
        """Pack the state: a detector that is decoded from it goes on as if it had never stopped."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> PageHinkley:
        """Unpack a state; raises `UnreadableState`."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except msgspec.DecodeError as error:
            raise UnreadableState(f"{len(data)} bytes are not a Page-Hinkley test ({error}).") from error

    def _count(self, value: float) -> None:
        """Take a value into mean and spread (Welford, 1962)."""
        self.n += 1
        self.total += value
        deviation = value - self.mean
        self.mean += deviation / self.n
        self.spread += deviation * (value - self.mean)

    def _unit(self) -> float:
        if self.unit is not None:
            return self.unit
        return math.sqrt(self.spread / (self.n - 1)) if self.n > 1 else 0.0

    def _add(self, side: _Side, value: float, unit: float) -> None:
        side.sum = self.fading * side.sum + side.sign * (value - self.mean) - self.allowance * unit
        if side.sum <= side.lowest:  # of equal ones the last, after which the change began
            side.lowest, side.n, side.total = side.sum, self.n, self.total

    def _begin_anew(self, side: _Side) -> Change:
        after, n_after = self.total - side.total, self.n - side.n
        change = Change(side.since, side.total / side.n, after / n_after, side.n, n_after)
        self.n, self.total, self.mean, self.spread = 0, 0.0, 0.0, 0.0
        self.sides = _both_sides()
        return change
