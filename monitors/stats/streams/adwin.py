"""ADWIN: the longest window of a stream's newest values in which no two parts have different means.

Bifet and Gavaldà, "Learning from Time-Changing Data with Adaptive Windowing", SIAM International Conference on Data
Mining, 2007 (ADWIN2, with its exponential histogram). A window W of n values splits into an older part W0 and a newer
W1; the means differ when they lie further apart than

    eps = sqrt(2/m · var(W) · ln(2 ln(n)/delta)) + 2/(3m) · unit · ln(2 ln(n)/delta),    1/m = 1/n0' + 1/n1'

where n' = n - (shortest - 1). Then W0 goes, of the split whose parts lie furthest apart for what they may: the paper
drops one bucket after another, which cuts the window several times for one change. Of values within a range of one
`unit` that are drawn independently and do not change, a look at the window cuts it with a probability of at most
`delta`. Values without a range, as losses are, take the window's own standard deviation as their unit: then a factor
on all values changes nothing, and of the bound nothing is proved: tests say how seldom it cuts what stays the same.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from monitors.stats.mergeable.sketches import FloatArray
from monitors.stats.streams.change import Change, UnreadableState

DELTA = 0.05  # of a few hundred numbers, as days are; for streams of rows the paper's authors take 0.002
GRACE = 10  # values from which on a window is looked at
MIN_PART_VALUES = 5  # values that a part must have
_ROUNDING = 1e-9
_TINY = float(np.finfo(np.float64).tiny)
_ALIKE = 5  # buckets of one size that are kept before the two oldest become one


class Adwin(msgspec.Struct, array_like=True):
    """The window, as buckets of 1, 2, 4, ... values with the oldest first; it grows with the logarithm of its length.

    A change's place is as exact as its bucket: of the newest values each has one.

    `clock` is after how many values it looks for a change; `unit` None is the window's own standard deviation.

    >>> window = Adwin()
    >>> changes = [window.update(value, mark) for mark, value in enumerate([0.12, 0.1] * 20 + [0.5, 0.52] * 8)]
    >>> [(change.since, round(change.before, 2), round(change.after, 2)) for change in changes if change]
    [(38, 0.11, 0.43)]
    """

    delta: float = DELTA
    clock: int = 1
    unit: float | None = None
    seen: int = 0
    sizes: list[int] = []
    totals: list[float] = []
    spreads: list[float] = []  # sums of squared deviations from the bucket's mean
    marks: list[int] = []  # of a bucket's first value

    @property
    def width(self) -> int:
        return sum(self.sizes)

    @property
    def mean(self) -> float:
        return math.fsum(self.totals) / self.width if self.sizes else math.nan

    def update(self, value: float, mark: int) -> Change | None:
        """Add a value, which `mark` names, and tell whether the mean has changed before it."""
        self.seen += 1
        self.sizes.append(1)
        self.totals.append(value)
        self.spreads.append(0.0)
        self.marks.append(mark)
        self._compress()
        if self.seen % self.clock or self.width <= GRACE:
            return None
        change = self._differing()
        if change is not None:
            self._forget(change)
        return change

    def encode(self) -> bytes:
        """Pack the state: a detector that is decoded from it goes on as if it had never stopped."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Adwin:
        """Unpack a state; raises `UnreadableState`."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except msgspec.DecodeError as error:
            raise UnreadableState(f"{len(data)} bytes are not a window of ADWIN ({error}).") from error

    def _compress(self) -> None:
        """Where a size has one bucket too many, put its two oldest together, which may make the next size too many."""
        end = len(self.sizes)
        while True:
            size = self.sizes[end - 1]
            begin = end
            while begin and self.sizes[begin - 1] == size:
                begin -= 1
            if end - begin <= _ALIKE:
                return
            self._merge(begin)
            end = begin + 1

    def _merge(self, first: int) -> None:
        """Put a bucket and the next one, which has as many values, together."""
        n, distance = self.sizes[first], self.totals[first] - self.totals[first + 1]
        self.spreads[first] += self.spreads[first + 1] + distance * distance / (2 * n)
        self.sizes[first] = 2 * n
        self.totals[first] += self.totals[first + 1]
        for part in (self.sizes, self.totals, self.spreads, self.marks):
            del part[first + 1]

    def _differing(self) -> Change | None:
        """Find the split whose parts lie furthest apart for what they may; None where none differs."""
        sizes, totals = np.array(self.sizes, dtype=np.float64), np.array(self.totals)
        counts = sizes.cumsum()
        splits = np.flatnonzero((counts >= MIN_PART_VALUES) & (counts <= counts[-1] - MIN_PART_VALUES))
        if not splits.size:
            return None
        older, sums = counts[splits], totals.cumsum()
        newer = counts[-1] - older
        before, after = sums[splits] / older, (sums[-1] - sums[splits]) / newer
        variance = self._variance(sizes, totals)
        times = np.abs(before - after) / self._bound(
            older, newer, variance, float(np.abs(totals / sizes).max())
        )
        best = int(times.argmax())
        if times[best] <= 1:
            return None
        since = self.marks[splits[best] + 1]
        return Change(since, float(before[best]), float(after[best]), int(older[best]), int(newer[best]))

    def _bound(self, older: FloatArray, newer: FloatArray, variance: float, largest: float) -> FloatArray:
        doubt = math.log(2 * math.log(older[0] + newer[0]) / self.delta)
        unit = math.sqrt(variance) if self.unit is None else self.unit
        share = 1 / (older - MIN_PART_VALUES + 1) + 1 / (newer - MIN_PART_VALUES + 1)
        bound: FloatArray = np.sqrt(2 * share * variance * doubt) + 2 / 3 * share * unit * doubt
        # Values that are all alike differ by their rounding.
        return np.maximum(bound, largest * _ROUNDING + _TINY)

    def _variance(self, sizes: FloatArray, totals: FloatArray) -> float:
        mean = totals.sum() / sizes.sum()
        between = float((sizes * (totals / sizes - mean) ** 2).sum())
        return (math.fsum(self.spreads) + between) / float(sizes.sum())

    def _forget(self, change: Change) -> None:
        older = self.marks.index(change.since)
        for part in (self.sizes, self.totals, self.spreads, self.marks):
            del part[:older]
