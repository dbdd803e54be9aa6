"""How differently a model treats groups: the widest gap of a metric between them, with an interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy

from monitors.stats.performance.estimate import Z95, Estimate


@dataclass(frozen=True, slots=True)
class Gap:
    """The distance between the group of the highest and the one of the lowest value; its n is the smaller group's."""

    estimate: Estimate
    highest: str
    lowest: str


def widest_gap(groups: Mapping[str, Estimate]) -> Gap | None:
    """Measure the widest gap between groups whose value and bounds are known; None below two of them.

    The bounds are put together from the two groups' own (MOVER; Zou and Donner, 2008), each widened so that they
    hold for every pair at once (Bonferroni): the widest of many gaps is wide by chance already. A gap that may be
    none has the lower bound 0.

    >>> gap = widest_gap({"north": Estimate(0.9, 100, 0.85, 0.95), "south": Estimate(0.7, 100, 0.62, 0.78)})
    >>> gap.highest, gap.lowest, round(gap.estimate.value, 2), round(gap.estimate.lower, 3)
    ('north', 'south', 0.2, 0.106)
    """
    known = {
        name: (group.value, group.lower, group.upper, group.n)
        for name, group in groups.items()
        if group.value is not None and group.lower is not None and group.upper is not None
    }
    if len(known) < 2:
        return None
    ordered = sorted(known, key=lambda name: (known[name][0], name))
    lowest, highest = ordered[0], ordered[-1]
    low, low_from, low_to, low_n = known[lowest]
    high, high_from, high_to, high_n = known[highest]
    pairs = len(known) * (len(known) - 1) / 2
    wider = float(scipy.special.ndtri(1 - 0.025 / pairs)) / Z95
    gap = high - low
    lower = max(gap - wider * float(np.hypot(high - high_from, low_to - low)), 0.0)
    upper = gap + wider * float(np.hypot(high_to - high, low - low_from))
    detail = {"groups": len(known)}
    return Gap(Estimate(gap, min(low_n, high_n), lower, upper, "mover", detail), highest, lowest)
