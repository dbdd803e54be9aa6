"""Judge a window by all its columns at once, against what the reference does when it is split into two.

The null distribution of a kernel is what it measures between a part of the reference, of as many rows as the window
has, and the rest. Where the reference has days that differ, each part is a day, held against the others; else rows are
drawn by chance. No row is drawn twice: what is in both parts could be recognised. The draws are few because each costs
a fit, so limits are those of a further draw from a normal distribution (Student's t), and never below any draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy

from monitors.stats.drift.large_effects import SHIFT
from monitors.stats.drift.thresholds import MIN_SIZE, grid_size
from monitors.stats.joint.domain_classifier import separate
from monitors.stats.joint.pca_reconstruction import reconstruct
from monitors.stats.joint.rows import JointRows
from monitors.stats.mergeable.sketches import FloatArray
from monitors.stats.performance.estimate import Estimate

MAX_ROWS = 5_000
"""Of the reference that are compared; a window gives as many, rounded down to the grid of sizes."""
MIN_ROWS = 50
"""A window needs so many, and a reference twice as many."""
DRAWS = 20
FALSE_ALARMS = 0.01
_HOURS_A_DAY = 24


@dataclass(frozen=True, eq=False)
class JointMeasure:
    """A kernel's number of one window, and by column how much each had to do with it where the kernel can tell.

    `baseline` is what the reference itself gives: the null distribution is of the distance from it, so that it holds
    the chance of both sides.
    """

    estimate: Estimate
    baseline: float = 0.0
    shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JointKernel:
    """A statistic of all columns. `effect_floor(usual)` is the least distance from the usual value that matters.

    `large_effect(usual)` is what rows show of which a column moved by three standard deviations. `two_sided` says
    that a value far below what is usual is a sign of drift, too; no value is above `highest`.
    """

    name: str
    measure: Callable[[JointRows, JointRows], JointMeasure]
    effect_floor: Callable[[float], float]
    large_effect: Callable[[float], float]
    two_sided: bool
    highest: float = np.inf


def _separation(reference: JointRows, window: JointRows) -> JointMeasure:
    separation = separate(reference, window)
    return JointMeasure(separation.auc, shares=separation.shares)


def _reconstruction(reference: JointRows, window: JointRows) -> JointMeasure:
    rebuilt = reconstruct(reference, window)
    return JointMeasure(rebuilt.error, rebuilt.own)


JOINT_KERNELS = {
    kernel.name: kernel
    for kernel in (
        # An AUC below 0.55 helps nobody to tell rows apart (NannyML's fixed limit is 0.65). A normal column that moved
        # by `SHIFT` gives one of 0.983 by itself.
        JointKernel(
            "domain_auc",
            _separation,
            lambda usual: max(0.55 - usual, 0.0),
            lambda usual: float(scipy.special.ndtr(SHIFT / 2**0.5)),
            two_sided=False,
            highest=1.0,
        ),
        # Two percent of the usual error; where it is next to nothing, a hundredth of a standard deviation. A column
        # that moved by `SHIFT`, across all that the components rebuild, moves a row's error by no more.
        JointKernel(
            "pca_reconstruction_error",
            _reconstruction,
            lambda usual: max(0.02 * usual, 0.01),
            lambda usual: usual + SHIFT,
            two_sided=True,
        ),
    )
}


def joint_size(rows: int) -> int:
    """Return how many rows of a window are compared: a size of the grid that thresholds are cached on.

    >>> joint_size(900), joint_size(1_000_000)
    (826, 4642)
    """
    return grid_size(min(rows, MAX_ROWS)) if rows >= MIN_SIZE else rows


@dataclass(frozen=True, eq=False)
class JointNull:
    """How far each kernel's value lies from its baseline when nothing drifts; `why` says how that was drawn."""

    draws: Mapping[str, FloatArray]
    why: str


def draw_joint_null(
    reference: JointRows, size: int, *, by_day: bool, rng: np.random.Generator, draws: int = DRAWS
) -> JointNull:
    """Measure every kernel between parts of the reference and the rest, for windows of `size` rows.

    `by_day` takes the reference's days (by its hours) as parts, the same number of times each.
    """
    days = _days(reference, draws, rng) if by_day else []
    parts = _by_day(reference, days, size, rng) if days else _by_chance(reference, size, rng, draws)
    measured: dict[str, list[float]] = {name: [] for name in JOINT_KERNELS}
    sizes = []
    for rest, part in parts:
        sizes.append(len(part))
        for name, kernel in JOINT_KERNELS.items():
            found = kernel.measure(rest, part)
            if found.estimate.value is not None:
                measured[name].append(found.estimate.value - found.baseline)
    typical = int(np.median(sizes)) if sizes else 0
    why = f"{len(sizes)} days, each" if days else f"{len(sizes)} random parts of the reference, each"
    return JointNull(
        {name: np.sort(values) for name, values in measured.items()},
        f"{why} of {typical} rows, against the rest of it",
    )


def _days(reference: JointRows, most: int, rng: np.random.Generator) -> list[int]:
    """Choose days of the reference that have rows enough to stand in for a window."""
    if reference.hours is None:
        return []
    days, rows = np.unique(reference.hours // _HOURS_A_DAY, return_counts=True)
    able = days[rows >= MIN_ROWS]
    chosen: list[int] = np.sort(rng.choice(able, min(most, able.size), replace=False)).tolist()
    return chosen if len(chosen) > 1 else []


def _by_day(
    reference: JointRows, days: list[int], size: int, rng: np.random.Generator
) -> Iterator[tuple[JointRows, JointRows]]:
    assert reference.hours is not None
    day_of = reference.hours // _HOURS_A_DAY
    for day in days:
        inside = day_of == day
        rest = np.flatnonzero(~inside)
        yield (
            reference.take(_some(rest, MAX_ROWS, rng)),
            reference.take(_some(np.flatnonzero(inside), size, rng)),
        )


def _by_chance(
    reference: JointRows, size: int, rng: np.random.Generator, draws: int
) -> Iterator[tuple[JointRows, JointRows]]:
    size = min(size, len(reference) // 2)
    for _ in range(draws):
        order = rng.permutation(len(reference))
        rest = order[size : size + MAX_ROWS]
        yield reference.take(np.sort(rest)), reference.take(np.sort(order[:size]))


def _some(rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


@dataclass(frozen=True, slots=True)
class JointJudgement:
    """A value beside what is usual. `lower` is None where only a high value is a sign of drift.

    `times` is how many times further from `usual` the value lies than chance or the floor lets it; it drifted beyond
    1, which no value reaches where `upper` is the highest that there is. It is not informative where not even a large
    effect would go beyond `upper`.
    """

    p_value: float
    usual: float
    lower: float | None
    upper: float
    times: float
    reason: str
    is_informative: bool

    @property
    def drifted(self) -> bool:
        return self.times > 1


def judge_jointly(name: str, measured: JointMeasure, null: JointNull) -> JointJudgement | None:
    """Hold a kernel's value against its null distribution; None without a value, or with too few draws to tell."""
    kernel, draws, value = JOINT_KERNELS[name], measured.baseline + null.draws[name], measured.estimate.value
    if value is None or draws.size < 2:
        return None
    usual, freedom = float(draws.mean()), draws.size - 1
    spread = float(draws.std(ddof=1)) * (1 + 1 / draws.size) ** 0.5
    sides = 2 if kernel.two_sided else 1
    away = abs(value - usual) if kernel.two_sided else value - usual
    seen = float(np.abs(draws - usual).max() if kernel.two_sided else draws.max() - usual)
    by_chance = max(float(scipy.special.stdtrit(freedom, 1 - FALSE_ALARMS / sides)) * spread, seen)
    floor = kernel.effect_floor(usual)
    p_value = (
        min(sides * float(scipy.special.stdtr(freedom, -away / spread)), 1.0)
        if spread > 0
        else float(away <= 0)
    )
    distance = max(by_chance, floor)
    lower = usual - distance if kernel.two_sided else None
    upper = min(usual + distance, kernel.highest)
    limits = f"{upper:.3g}" if lower is None else f"{lower:.3g} to {upper:.3g}"
    if upper == kernel.highest:
        held = "not informative: ordinary windows already lie near the maximum"
    elif floor > by_chance:
        held = "the minimum effect size"
    else:
        held = f"exceeded by {FALSE_ALARMS:.0%} of windows without drift"
    return JointJudgement(
        p_value=p_value,
        usual=usual,
        lower=lower,
        upper=upper,
        is_informative=upper < kernel.large_effect(usual),
        times=away / distance if distance > 0 else float(away > 0) * 2,
        reason=f"{name} is {usual:.3g} without drift, limit {limits} ({held}): {null.why}.",
    )
