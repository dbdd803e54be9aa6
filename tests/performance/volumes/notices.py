"""What counts as having noticed a fault."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.performance.volumes.worlds import BROKEN_FROM, VolumeFault


@dataclass(frozen=True)
class NoticedProblem:
    """An incident: the rule and its metric, and the first two causes that it names.

    `day` is when it opened, and `began` when the window ended in which it says that the problem began, both in days
    since the first day of the stream.
    """

    rule: str
    metric: str
    day: float
    began: float
    causes: Sequence[str]


def noticed(fault: VolumeFault, incidents: Iterable[NoticedProblem]) -> list[NoticedProblem]:
    """Return the incidents that are about a fault, the first one first.

    They opened while it could be noticed, by a rule about such faults, and say that it began when it did or later: in a
    window that holds its first day at the earliest, and a silence with the last row before it.
    """
    ends = BROKEN_FROM + fault.within_days
    about = [
        one
        for one in incidents
        if one.metric in fault.metrics
        and BROKEN_FROM < one.day <= ends
        and one.began > BROKEN_FROM - fault.may_begin_before
    ]
    return sorted(about, key=lambda one: one.day)


def names_feature(feature: str, incidents: Iterable[NoticedProblem]) -> bool:
    """Tell whether an incident names the broken feature first or second; a fault of none is named by its metric."""
    return any(not feature or feature in one.causes for one in incidents)
