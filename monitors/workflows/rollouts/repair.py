"""The measured repair: both champions on the same requests after a promotion, the old one as reverse shadow."""

from dataclasses import dataclass
from typing import Self

from inference.registry.selectors import signature_of
from monitors.stats.promotion.differences import MetricDifference
from monitors.stats.promotion.paired import PairedComparison
from monitors.workflows.judging.pairs import PairsWanted, compare_wanted, policy_of
from monitors.workflows.models import Rollout, Workflow

CONFIDENCE = 0.98
"""How sure the intervals of all looks together are: one that is as good is rolled back with a chance of 1%."""


@dataclass(frozen=True)
class Repair:
    """The objective's metric of both champions; `lower` and `upper` bound the new one's less the old one's."""

    metric: str
    higher_is_better: bool
    pairs: int
    old: float
    new: float
    difference: float
    lower: float
    upper: float

    @classmethod
    def of(cls, compared: PairedComparison, metric: str) -> Self | None:
        """Read it from a comparison in which the old champion is the challenger; None without that metric."""
        found: MetricDifference | None = compared.metrics.get(metric)
        if found is None:
            return None
        return cls(
            metric, found.higher_is_better, compared.n_labelled, old=found.challenger, new=found.champion,
            difference=-found.difference, lower=-found.upper, upper=-found.lower,
        )  # fmt: skip

    @property
    def verdict(self) -> str:
        """Return whether the new champion is `better` or `worse` beyond the interval, or `no clear difference`."""
        low, high = (self.lower, self.upper) if self.higher_is_better else (-self.upper, -self.lower)
        return "better" if low > 0 else "worse" if high < 0 else "no clear difference"


def watched_pairs(rollout: Rollout) -> PairsWanted:
    """The requests since the promotion that both champions answered."""
    run = rollout.run
    assert run.challenger is not None
    return PairsWanted(run.model, run.challenger, run.champion, rollout.events_since, rollout.watched_until)


def measure_repair(rollout: Rollout, workflow: Workflow) -> Repair | None:
    """Compare both champions on the ripe pairs that there are; None where none has a label.

    Its interval holds at all looks up to the workflow's largest number of pairs.
    """
    model = rollout.run.model
    assert rollout.run.challenger is not None
    signature = signature_of(rollout.run.challenger)
    compared = compare_wanted(watched_pairs(rollout), signature, workflow, confidence=CONFIDENCE)
    return Repair.of(compared, policy_of(model, workflow, model.task).objective) if compared else None
