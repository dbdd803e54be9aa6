"""What successive windows say together, although each of them alone may be chance.

A window's p-value becomes a bet against chance, an e-value: at most 1 in the mean while nothing drifts (Vovk and Wang,
"E-values: Calibration, combination and applications", Annals of Statistics 49, 2021). Bets on successive windows
multiply, and begin anew where the product falls below 1: a CUSUM of e-values. It exceeds c at most once in c windows
however often one looks (Shin, Ramdas and Rinaldo, "E-detectors", New England Journal of Statistics in Data Science,
2023), and it grew since the window that it began with. The mean over several streams keeps that promise whatever they
have in common.

All windows are compared with the same reference. Its own noise never averages out: a reference that happened to be
calm makes every later window look a little far. What the p-value of a window is worth is bounded by how many windows
the reference is made of.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import msgspec
import scipy

from monitors.stats.streams.change import UnreadableState
from monitors.stats.streams.onset import estimate_onset

BUDGET = 1_000
"""Windows in which one false alarm is allowed: evidence beyond it is a finding."""
MIN_P_VALUE = 0.01  # so little a single window may say: many near misses are looked for, not one odd window
_LUCKY = 0.05  # the share of references that are calmer than is allowed for
_KEPT = 10.0  # times its limit that evidence is kept: what has ended must not stay for months
_REMEMBERED, _REMEMBERED_BEFORE = 90, 12
"""Windows of which the p-values are kept to date the onset: while there is evidence, and before any."""
_PER_UNIT = 12.0  # steps of -log p in a remembered byte, whose highest bit says that the window stands out


@dataclass(frozen=True, slots=True)
class Chance:
    """How often a window without drift is at least as far from the reference, and how many windows that one holds.

    `stands_out` says whether the window shows by itself that it is no chance.
    """

    p_value: float
    reference_windows: float
    stands_out: bool = False


def e_value(chance: Chance) -> float:
    """Bet on a window: (1/2) p^(-k/2), where k is how evenly the p-values may be spread without drift.

    With minus log p exponential of rate k or more, its mean is at most 1. A reference of m windows gives a rate that
    varies like a gamma variable of shape m and mean 1; k is its 5 % quantile. (Of 14 days, k is 0.6.)

    >>> e_value(Chance(0.5, 1e4)) < 1 < e_value(Chance(0.05, 14)) < e_value(Chance(0.05, 400))
    True
    """
    rate = _least_rate(round(chance.reference_windows, 1))
    return 0.5 * max(chance.p_value, MIN_P_VALUE) ** (-rate / 2)


@lru_cache(maxsize=1_024)
def _least_rate(windows: float) -> float:
    if windows <= 0:
        return 0.0
    return float(scipy.special.gammaincinv(windows, _LUCKY) / windows)


@dataclass(frozen=True, slots=True)
class StreamOnset:
    """The mark of the first window after the change, the first and last that it may be, and the windows since.

    `standing_out` counts those of them that need no others to be noticed.
    """

    mark: int
    first: int
    last: int
    windows: int
    standing_out: int


class Evidence(msgspec.Struct, array_like=True):
    """The evidence of one stream: its logarithm to base 10, the mark of the window it began with, and its windows.

    `standing_out` counts those of them that need no others to be noticed. `marks` and `seen` remember the newest
    windows, some from before the evidence began, by which `onset` dates the change.

    >>> stream = Evidence()
    >>> for mark, p_value in enumerate([0.6, 0.3, 0.04, 0.05, 0.03, 0.06]):
    ...     stream.update(Chance(p_value, 400), mark, most=1e6)
    >>> stream.since, stream.windows, round(stream.power, 1)
    (2, 4, 1.3)
    """

    power: float = 0.0
    since: int = 0
    windows: int = 0
    standing_out: int = 0
    marks: list[int] = msgspec.field(default_factory=list)
    seen: bytes = b""

    @property
    def of_many(self) -> float:
        """Its power; 0 where there is none, and where most of its windows stand out: these tell it themselves."""
        return max(self.power, 0.0) if 2 * self.standing_out <= self.windows else 0.0

    def update(self, chance: Chance, mark: int, *, most: float) -> None:
        """Add a window, which `mark` names; evidence does not grow beyond `most`."""
        if self.power <= 0:
            self.power, self.since, self.windows, self.standing_out = 0.0, mark, 0, 0
        self.windows += 1
        self.standing_out += chance.stands_out
        self.power = min(self.power + math.log10(e_value(chance)), math.log10(most))
        self._remember(chance, mark)

    def _remember(self, chance: Chance, mark: int) -> None:
        small = min(round(-math.log(max(chance.p_value, 1e-9)) * _PER_UNIT), 127)
        kept = _REMEMBERED if self.power > 0 else _REMEMBERED_BEFORE
        self.marks = [*self.marks, mark][-kept:]
        self.seen = (self.seen + bytes([small | chance.stands_out << 7]))[-kept:]

    def onset(self) -> StreamOnset | None:
        """Date the change from the p-values that are remembered; None where none are, as in older states."""
        if not self.seen:
            return None
        found = estimate_onset([math.exp(-(byte & 127) / _PER_UNIT) for byte in self.seen])
        since = self.seen[found.place :]
        return StreamOnset(
            self.marks[found.place],
            self.marks[found.first],
            self.marks[found.last],
            len(since),
            sum(byte >> 7 for byte in since),
        )


class Accumulated(msgspec.Struct, array_like=True):
    """The evidence of several streams by name, all compared with the `reference` of a number."""

    reference: int = 0
    streams: dict[str, Evidence] = msgspec.field(default_factory=dict)

    def update(self, chances: Mapping[str, Chance], mark: int) -> None:
        """Add what a window, which `mark` names, says of some streams; a stream of which it says nothing waits."""
        for name in chances.keys() - self.streams.keys():
            self.streams[name] = Evidence()
        most = _KEPT * 10**self.limit
        for name, chance in chances.items():
            self.streams[name].update(chance, mark, most=most)

    @property
    def limit(self) -> float:
        """Beyond this power a single stream is a finding, and would make all together exceed their budget."""
        return math.log10(BUDGET * max(len(self.streams), 1))

    def together(self, names: Iterable[str]) -> float:
        """Return the power of the mean evidence of some streams, 0 where there is none."""
        powers = [self.streams[name].of_many for name in names]
        if not any(powers):
            return 0.0
        return math.log10(sum(10**power for power in powers) / len(powers))

    def encode(self) -> bytes:
        """Pack the state: what is decoded from it goes on as if it had never stopped."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Accumulated:
        """Unpack a state; raises `UnreadableState`."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except msgspec.DecodeError as error:
            raise UnreadableState(f"{len(data)} bytes are no accumulated evidence ({error}).") from error
