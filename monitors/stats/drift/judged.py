"""The verdict on the drift of one feature in one window."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Judgement:
    """One statistic of one feature.

    `p_value` is calibrated at the window's own rows; `asymptotic_p_value` is the textbook's, where there is
    one. `exceeds` says whether the value reached its threshold, `is_informative` whether a large effect would.
    """

    value: float
    p_value: float
    asymptotic_p_value: float | None
    threshold: float
    reason: str
    exceeds: bool
    is_informative: bool


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """All that one window says about the drift of one feature; `n` counts its rows, missing ones included.

    `p_value` is the decision's; `decided_by` names the statistic that spoke loudest in it. `reference_windows` is how
    many windows without drift the reference is worth. Of a vector `column` names the number that stands out most.
    """

    feature: str
    kind: str
    n: int
    statistics: dict[str, Judgement]
    p_value: float
    decided_by: str
    drifted: bool
    reference_windows: float
    column: str = ""
