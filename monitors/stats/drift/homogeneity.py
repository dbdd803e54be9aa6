"""Whether the rows of a block of time resemble each other more than rows of the reference at large do.

A block is a day, or a run of days. Two tests, for two ways of differing: Pearson's of the blocks' table sees any bin
that comes and goes; the analysis of variance of the rows' midranks (Kruskal and Wallis 1952) sees a level that moves,
which spreads too thinly over the bins for the first. A test that finds nothing says little where it could not have
found much: blocks count as alike only where rows surely resemble each other less than matters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from monitors.stats.mergeable.sketches import FloatArray

# Blocks differ where the chance of counts so different is below this, in either test.
SIGNIFICANT = 0.02
# They are alike only where the design effect is below this with so much confidence: limits for independent rows are
# then off by less than a fifth.
_MAX_DESIGN_EFFECT, _CONFIDENCE = 1.5, 0.95
_MIN_EXPECTED = 1.0


@dataclass(frozen=True, slots=True)
class Homogeneity:
    """How alike blocks are.

    `design_effect` is the larger test's statistic over its degrees of freedom: 1 when rows are independent,
    1 + (m - 1) ICC for blocks of m rows with the intraclass correlation ICC (Kish 1965; Rao and Scott 1981).
    `p_value` is the chance of blocks so different, by both tests (Bonferroni). `statistic` and `freedom` are Pearson's,
    which several columns add up.
    """

    design_effect: float
    p_value: float
    statistic: float
    freedom: int

    @property
    def differ(self) -> bool:
        """Whether a test found a difference."""
        return self.p_value < SIGNIFICANT

    @property
    def alike(self) -> bool:
        """Whether no difference was found, and one that matters would have been."""
        return not self.differ and surely_alike(self.statistic, self.freedom)


def surely_alike(statistic: float, freedom: int) -> bool:
    """Return whether a design effect that matters would have given more than this chi-square statistic."""
    return not freedom or statistic < _MAX_DESIGN_EFFECT * float(scipy.special.chdtri(freedom, _CONFIDENCE))


def judge_homogeneity(bins: FloatArray, *, ordered: bool) -> Homogeneity:
    """Test a table of a row per block and a column per bin; the bins of a number are `ordered`, but for the last."""
    table = _without_rare(bins)
    blocks, freedom = len(table), (len(table) - 1) * (table.shape[1] - 1)
    if freedom <= 0:
        return Homogeneity(1.0, p_value=1.0, statistic=0.0, freedom=0)
    statistic = _pearson(table)
    effects = [(statistic / freedom, freedom)]
    if ordered:
        effects.append((_between_ranks(bins[:, :-1]), blocks - 1))
    p_value = len(effects) * min(float(scipy.special.chdtrc(f, effect * f)) for effect, f in effects)
    return Homogeneity(max(effect for effect, _ in effects), p_value, statistic, freedom)


def _without_rare(bins: FloatArray) -> FloatArray:
    """Join bins to their neighbours until a block of middling size expects a row in each: a short one changes none."""
    totals = bins.sum(axis=0)
    expected = totals / max(totals.sum(), 1.0) * np.median(bins.sum(axis=1))
    starts, held = [0], 0.0
    for position, rows in enumerate(expected):
        if held >= _MIN_EXPECTED:
            starts.append(position)
            held = 0.0
        held += rows
    if held < _MIN_EXPECTED and len(starts) > 1:
        starts.pop()
    return np.add.reduceat(bins, starts, axis=1)


def _pearson(table: FloatArray) -> float:
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    return float(((table - expected) ** 2 / expected).sum())


def _between_ranks(bins: FloatArray) -> float:
    """Return the variance of the blocks' mean midranks over what independent rows give them."""
    bins = bins[bins.sum(axis=1) > 0]
    totals = bins.sum(axis=0)
    rows = totals.sum()
    if len(bins) < 2 or not rows:
        return 1.0
    ranks = (np.cumsum(totals) - totals / 2) / rows
    middle = totals @ ranks / rows
    spread = totals @ (ranks - middle) ** 2 / rows
    if spread <= 0:
        return 1.0
    held = bins.sum(axis=1)
    return float(held @ (bins @ ranks / held - middle) ** 2 / spread / (len(bins) - 1))
