"""What guards of a rollout judge, at any number of looks: whether a challenger that answers a share does harm.

Champion and challenger answer different requests of the same minutes. Three kinds of evidence are enough:

- *More events* (failed requests, slow answers, NaN): of all events of a step the challenger has its share of the
  requests if both have them equally often, however often that is, so that an outage of both says nothing. The evidence
  is a mixture of likelihood ratios, each for one ratio of the two rates; given the events, the challenger's number is
  hypergeometric, for which this is an e-value as it is for the binomial (Hoeffding, 1963). By Ville's inequality it
  exceeds 1 / chance at any look with at most that chance.
- *Another split* of keys than the weight says: a mixture of binomials around the weight (Lindon and Malek, 2022).
- *Other outputs*: shares and distances with bounds that hold for any distribution (Hoeffding; Dvoretzky, Kiefer and
  Wolfowitz), of which each look spends a part of the chance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, lgamma, log, pi, sqrt

import numpy as np

from monitors.stats.mergeable.sketches import FloatArray

RATES = (1.5, 2.0, 3.0, 5.0, 10.0, 100.0)
"""How many times as often as the champion's a challenger's events may come; the mixture gives each the same weight."""
SPLIT_SPREAD = 100.0
"""How closely the alternatives to a split lie around the weight, in keys."""


@dataclass(frozen=True, slots=True)
class Events:
    """What both sides did in one step: requests or rows, and how many of them were events."""

    champion: int
    champion_events: int
    challenger: int
    challenger_events: int

    @property
    def difference(self) -> float:
        """The challenger's share of events less the champion's; NaN where a side did nothing."""
        if not self.champion or not self.challenger:
            return float("nan")
        return self.challenger_events / self.challenger - self.champion_events / self.champion


def log_evidence_of_more(steps: Sequence[Events]) -> float:
    """Return the log of the evidence that the challenger's events come more often than the champion's.

    >>> log_evidence_of_more([Events(950, 0, 50, 3)]) > log(200)
    True
    >>> log_evidence_of_more([Events(950, 190, 50, 10)]) < 0
    True
    """
    by_rate = [sum(_log_ratio(step, rate) for step in steps) for rate in RATES]
    largest = max(by_rate)
    return largest + log(sum(exp(one - largest) for one in by_rate) / len(RATES))


def _log_ratio(step: Events, rate: float) -> float:
    """How much likelier a step's events are at this ratio of rates than at equal ones."""
    requests = step.champion + step.challenger
    if not step.champion or not step.challenger:
        return 0.0
    share = step.challenger / requests
    total = rate * share + 1 - share
    return step.challenger_events * log(rate / total) - step.champion_events * log(total)


def log_evidence_of_mismatch(champion: int, challenger: int, weight: float) -> float:
    """Return the log of the evidence that keys are not split as `weight`, the challenger's share, says.

    >>> log_evidence_of_mismatch(950, 50, 0.05) < 0 < log(1000) < log_evidence_of_mismatch(900, 100, 0.05)
    True
    """
    first, second = SPLIT_SPREAD * weight, SPLIT_SPREAD * (1 - weight)
    mixture = _log_beta(first + challenger, second + champion) - _log_beta(first, second)
    return mixture - challenger * log(weight) - champion * log(1 - weight)


def _log_beta(first: float, second: float) -> float:
    return lgamma(first) + lgamma(second) - lgamma(first + second)


def chance_at_look(chance: float, look: int) -> float:
    """Return the part of a chance of error that a look may spend, the first being 1: all of them together spend it.

    >>> round(sum(chance_at_look(0.01, look) for look in range(1, 100_000)), 4)
    0.01
    """
    return chance * 6 / (pi * look) ** 2


@dataclass(frozen=True, slots=True)
class Distance:
    """How far two sides lie apart, and how far at least, but for a chance of error."""

    value: float
    at_least: float


def distance_of_scores(champion: FloatArray, challenger: FloatArray, chance: float) -> Distance:
    """Return the largest difference between the shares of both sides' scores below any one value (Kolmogorov-Smirnov).

    >>> distance_of_scores(np.zeros(100), np.ones(100), 0.05).value
    1.0
    """
    if not champion.size or not challenger.size:
        return Distance(0.0, 0.0)
    both = np.concatenate([champion, challenger])
    below = [np.searchsorted(np.sort(side), both, "right") / side.size for side in (champion, challenger)]
    value = float(np.abs(below[0] - below[1]).max())
    reach = _reach(champion.size, chance / 2) + _reach(challenger.size, chance / 2)
    return Distance(value, max(value - reach, 0.0))


def distance_of_shares(
    champion: Mapping[str, int],
    challenger: Mapping[str, int],
    chance: float,
    usual: Mapping[str, float] | None = None,
) -> tuple[str, Distance]:
    """Return the class with the share that moved furthest, and how far: both sides' counts by class.

    `usual` gives the differences (challenger minus champion) that are no news; a class without one has none.
    """
    rows = sum(champion.values()), sum(challenger.values())
    names = sorted({*champion, *challenger})
    if not all(rows) or not names:
        return "", Distance(0.0, 0.0)
    moved = {
        name: abs(challenger.get(name, 0) / rows[1] - champion.get(name, 0) / rows[0] - (usual or {}).get(name, 0.0))
        for name in names
    }  # fmt: skip
    furthest = max(names, key=lambda name: moved[name])
    reach = sum(_reach(count, chance / (2 * len(names))) for count in rows)
    return furthest, Distance(moved[furthest], max(moved[furthest] - reach, 0.0))


def _reach(rows: int, chance: float) -> float:
    """How far a share of so many rows, or the largest of all shares below a value, is from the true one at most."""
    return sqrt(log(2 / chance) / (2 * rows)) if rows else inf
