"""Traffic without drift at any volume, and what goes wrong in it: what the volumes benchmark replays.

A world makes days of rows: four numbers, two categories, a score and labels. Its reference is earlier days of the same
process, so that nothing a world shows is news. Every day is drawn from a generator of its own: a fault changes nothing
but what it touches.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

DAYS = 120
BROKEN_FROM = 60
"""The first day with a fault, a Tuesday where the first day of all is a Friday."""
SILENT_HOURS = 36
JOB_HOURS, OFFICE_HOURS = (6, 13), tuple(range(8, 16))
"""When rows come: from two jobs a day, and of every tenth seed in office hours."""
NUMBERS = ("amount", "age", "share", "visits")
CATEGORIES = ("region", "product")
FEATURES = (*NUMBERS, *CATEGORIES)
GOOD, POOR = 2.6, 0.7
"""How steeply labels follow the score: ROC AUC 0.90 and 0.68."""
TREND_DAYS = 60
LABEL_DAYS = 2
REFERENCE_DAYS = (20, 30, 45, 60, 120, 250, 400)
YEAR = 365.25

type Array = np.ndarray


@dataclass(frozen=True)
class TrafficDay:
    """The rows of a day, ordered by time; `labels` are those that come, two days later."""

    number: int
    seconds: Array
    features: dict[str, Array]
    score: Array
    labels: Array
    labels_come: bool = True

    def __len__(self) -> int:
        return len(self.seconds)

    def take(self, where: Array) -> "TrafficDay":
        features = {name: values[where] for name, values in self.features.items()}
        return TrafficDay(
            self.number,
            self.seconds[where],
            features,
            self.score[where],
            self.labels[where],
            self.labels_come,
        )


@dataclass(frozen=True)
class QuietWorld:
    """How the days of a process without drift differ.

    `levels` gives the level of each number of some days in standard deviations (days x numbers), `sizes` the factor of
    their volume (days), `mixes` what is added to the logits of the first level of each category (days).
    """

    name: str
    levels: Callable[[Array, np.random.Generator], Array] = lambda days, rng: np.zeros(
        (len(days), len(NUMBERS))
    )
    sizes: Callable[[Array], Array] = lambda days: np.ones(len(days))
    mixes: Callable[[Array, np.random.Generator], Array] = lambda days, rng: np.zeros(len(days))
    heavy_tails: bool = False
    least_reference_days: int = 0


def _wandering(days: Array, rng: np.random.Generator, memory: float = 0.6, spread: float = 0.4) -> Array:
    """Give levels that wander from day to day and come back (AR 1)."""
    steps = spread * np.sqrt(1 - memory**2) * rng.normal(size=(len(days), len(NUMBERS)))
    levels = np.empty_like(steps)
    levels[0] = spread * rng.normal(size=len(NUMBERS))
    for place in range(1, len(days)):
        levels[place] = memory * levels[place - 1] + steps[place]
    return levels


def _weekdays(days: Array, rng: np.random.Generator) -> Array:
    return rng.normal(0, 0.4, (7, len(NUMBERS)))[days % 7]


def _seasons(days: Array, rng: np.random.Generator) -> Array:
    phases = rng.random(len(NUMBERS))
    year = 0.8 * np.sin(2 * np.pi * (days[:, None] / YEAR + phases))
    return year + _wandering(days, rng, memory=0.7, spread=0.3)


def _two_weeks(days: Array, rng: np.random.Generator) -> Array:
    """Swing the share of a segment forth and back within ten days, as campaigns do."""
    return 0.7 * np.sin(2 * np.pi * (days / 10 + rng.random()))


# Day 0 is a Friday: days 1 and 2 of each seven are a weekend.
_OF_WEEKDAYS = np.array([1.5, 0.0, 0.0, 1.2, 1.3, 1.4, 1.6])

QUIET_WORLDS = (
    QuietWorld("independent rows"),
    QuietWorld("weekdays", levels=_weekdays, sizes=lambda days: _OF_WEEKDAYS[days % 7]),
    QuietWorld("seasons", levels=_seasons, least_reference_days=400),
    QuietWorld("wandering level", levels=_wandering),
    QuietWorld("heavy tails", heavy_tails=True),
    QuietWorld("growth", sizes=lambda days: 2.0 ** (np.clip(days, 0, DAYS) / DAYS), mixes=_two_weeks),
)


# -- faults ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class VolumeFault:
    """What goes wrong from the sixtieth day on.

    `breaks` changes a day's rows, given the feature that it touches, what is usual there, and a generator. A rule over
    one of the `metrics` is about it; where it touches a feature an incident should name that as well. It is noticed
    where an incident of such a rule opens within so many days, and did not begin before it, or so many days before.
    """

    name: str
    breaks: Callable[[TrafficDay, str, "Usual", np.random.Generator], TrafficDay]
    features: tuple[str, ...] = ("amount", "age", "visits")
    metrics: tuple[str, ...] = ("drifted_features", "drift_evidence", "faulty_features")
    within_days: int = DAYS - BROKEN_FROM
    may_begin_before: float = 0.0


@dataclass(frozen=True)
class Usual:
    """What the reference showed of a number, and the factor of another unit in which it could be sent."""

    spread: float
    least: float
    largest: float
    other_unit: float


UNITS = {"amount": 0.4536, "age": 12.0, "share": 100.0}


def _with(day: TrafficDay, feature: str, values: Array) -> TrafficDay:
    return TrafficDay(
        day.number, day.seconds, {**day.features, feature: values}, day.score, day.labels, day.labels_come
    )


def _mean(day: TrafficDay, feature: str, usual: Usual, rng: np.random.Generator) -> TrafficDay:
    return _with(day, feature, day.features[feature] + 0.4 * usual.spread)


def _trend(day: TrafficDay, feature: str, usual: Usual, rng: np.random.Generator) -> TrafficDay:
    part = min((day.number - BROKEN_FROM + 1) / TREND_DAYS, 1.0)
    return _with(day, feature, day.features[feature] + part * usual.spread)


def _unit(day: TrafficDay, feature: str, usual: Usual, rng: np.random.Generator) -> TrafficDay:
    return _with(day, feature, day.features[feature] * usual.other_unit)


def _impossible(day: TrafficDay, feature: str, usual: Usual, rng: np.random.Generator) -> TrafficDay:
    far = usual.least - 4 * (usual.largest - usual.least)
    return _with(day, feature, np.where(rng.random(len(day)) < 0.04, far, day.features[feature]))


def _performance(day: TrafficDay, feature: str, usual: Usual, rng: np.random.Generator) -> TrafficDay:
    chance = special.expit(POOR / GOOD * special.logit(day.score))
    return TrafficDay(day.number, day.seconds, day.features, day.score, rng.random(len(day)) < chance)


def _silence(day: TrafficDay, feature: str, usual: Usual, rng: np.random.Generator) -> TrafficDay:
    return day.take((day.number - BROKEN_FROM) * 86_400 + day.seconds >= SILENT_HOURS * 3_600)


def _no_labels(day: TrafficDay, feature: str, usual: Usual, rng: np.random.Generator) -> TrafficDay:
    return TrafficDay(day.number, day.seconds, day.features, day.score, day.labels, labels_come=False)


FAULTS = (
    VolumeFault("mean", _mean),
    VolumeFault("trend", _trend),
    VolumeFault("unit swap", _unit, features=tuple(UNITS)),
    VolumeFault("impossible values", _impossible),
    VolumeFault("performance", _performance, features=(), metrics=("roc_auc", "performance_evidence")),
    VolumeFault(
        "silence",
        _silence,
        features=(),
        metrics=("silence", "volume_ratio", "freshness"),
        within_days=4,
        may_begin_before=1.0,
    ),
    VolumeFault("labels stop", _no_labels, features=(), metrics=("label_coverage",)),
)


# -- a stream ----------------------------------------------------------------------------------------------------------
class Traffic(ABC):
    """One history: its reference, and the days that follow, with a fault or without.

    `names` are the columns of its features, `units` the factors by which somebody could mistake one's unit, and `floor`
    the ROC AUC that its owner asks for, if any.
    """

    names: tuple[str, ...]
    units: Mapping[str, float]
    floor: float | None = None
    reference_days: int

    def __init__(self, fault: VolumeFault | None, seed: Sequence[int], feature: str) -> None:
        self.fault, self.seed, self.feature = fault, seed, feature

    @abstractmethod
    def reference(self, max_rows: int) -> list[TrafficDay]:
        """Draw the days before the first, thinned evenly to about so many rows."""

    @abstractmethod
    def draw(self, number: int, thinned: float) -> TrafficDay:
        """Draw a day without the fault."""

    def usual(self, reference: Sequence[TrafficDay]) -> Usual:
        values = (
            np.concatenate([day.features[self.feature] for day in reference]) if self.feature else np.zeros(1)
        )
        factor = self.units.get(self.feature, 1.0)
        return Usual(float(np.nanstd(values)), float(np.nanmin(values)), float(np.nanmax(values)), factor)

    def day(self, number: int, usual: Usual) -> TrafficDay:
        """Draw one of the days after the reference."""
        day = self.draw(number, 1.0)
        if self.fault is None or number < BROKEN_FROM:
            return day
        return self.fault.breaks(
            day, self.feature, usual, np.random.default_rng([*self.seed, number + 10_000, 1])
        )


class MadeTraffic(Traffic):
    """A history of one of the worlds above."""

    names, units, floor = FEATURES, UNITS, 0.8

    def __init__(self, world: QuietWorld, fault: VolumeFault | None, volume: int, seed: int) -> None:
        self.world, self.volume = world, volume
        seeds = [seed, QUIET_WORLDS.index(world)]
        rng = np.random.default_rng(seeds)
        self.hours = np.array(OFFICE_HOURS if seed % 10 == 4 else JOB_HOURS)
        self.reference_days = max(int(rng.choice(REFERENCE_DAYS)), world.least_reference_days)
        days = np.arange(-self.reference_days, DAYS)
        self._levels, self._mixes, self._sizes = (
            world.levels(days, rng),
            world.mixes(days, rng),
            world.sizes(days),
        )
        self._bases = {
            name: np.sort(rng.normal(0, 1, count))[::-1] for name, count in self._level_counts().items()
        }
        self._sizes[: self.reference_days] *= self._gaps(rng)
        feature = str(rng.choice(fault.features)) if fault is not None and fault.features else ""
        super().__init__(fault, seeds, feature)

    def _level_counts(self) -> dict[str, int]:
        return dict(zip(CATEGORIES, (60, 300) if self.world.heavy_tails else (4, 8), strict=True))

    def _gaps(self, rng: np.random.Generator) -> Array:
        """Cut an export short at both ends, and leave a few days out of it."""
        whole = np.ones(self.reference_days)
        whole[0], whole[-1] = 0.4, 0.05
        for start in rng.integers(3, self.reference_days - 3, self.reference_days // 30 + 1):
            whole[start : start + rng.integers(1, 4)] = 0.0
        return whole

    def reference(self, max_rows: int) -> list[TrafficDay]:
        expected = self._sizes[: self.reference_days].sum() * self.volume
        thinned = min(1.0, max_rows / expected)
        return [self.draw(number, thinned) for number in range(-self.reference_days, 0)]

    def draw(self, number: int, thinned: float) -> TrafficDay:
        rng = np.random.default_rng([*self.seed, number + 10_000])
        place = number + self.reference_days
        rows = int(rng.poisson(self.volume * self._sizes[place] * thinned))
        latent = rng.normal(size=(len(NUMBERS), rows)) + self._levels[place][:, None]
        values = _tailed(latent, rng) if self.world.heavy_tails else _plain(latent)
        features = dict(zip(NUMBERS, values, strict=True))
        for name, base in self._bases.items():
            weights = np.exp(base + self._mixes[place] * (np.arange(base.size) == 0))
            codes = np.searchsorted(np.cumsum(weights / weights.sum()), rng.random(rows))
            names = np.array([f"{name} {level}" for level in range(base.size)], object)
            features[name] = names[np.minimum(codes, base.size - 1)]
        score = special.expit(GOOD * (0.5 * (latent[0] + latent[1]) + np.sqrt(0.5) * rng.normal(size=rows)))
        seconds = np.sort((rng.choice(self.hours, rows) + rng.random(rows)) * 3_600)
        return TrafficDay(number, seconds, features, score, rng.random(rows) < score)


def _plain(latent: Array) -> list[Array]:
    amount, age, share, visits = latent
    return [
        np.exp(0.6 * amount).round(4),
        (40 + 9 * age).round(2),
        special.expit(share - 1),
        np.exp(1 + 0.6 * visits) // 1,
    ]


def _tailed(latent: Array, rng: np.random.Generator) -> list[Array]:
    """Bend the same numbers into heavy tails, with a tenth of the values missing."""
    amount, age, share, visits = latent
    values = [
        np.exp(1.6 * amount),
        np.sinh(1.5 * age),
        special.expit(3 * share),
        np.floor(np.exp(1.5 * visits)),
    ]
    return [np.where(rng.random(amount.size) < 0.1, np.nan, column) for column in values]
