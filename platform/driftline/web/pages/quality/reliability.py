"""Whether probabilities come true as often as they say, drawn on the server."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from driftline.base.number_format import format_number
from monitors.stats.mergeable.outcomes import BinaryOutcomeSummary, MulticlassOutcomeSummary, OutcomeSummary
from monitors.stats.performance.calibration import ReliabilityBin, expected_calibration_error, reliability
from monitors.stats.performance.estimate import Estimate

_SIDE = 200.0


@dataclass(frozen=True)
class ReliabilityCurve:
    """Promised against observed shares in ten bins; on the diagonal both are the same."""

    bins: Sequence[ReliabilityBin]
    error: Estimate
    of: str

    @property
    def summary(self) -> str:
        """What the curve says in a sentence."""
        value, noise = self.error.value or 0.0, self.error.detail["noise"]
        sentence = f"On average the probability of {self.of} is off by {format_number(value)}"
        if value <= noise:
            return f"{sentence}; chance alone would show {format_number(noise)} on so few rows."
        return f"{sentence}, where chance alone would show {format_number(noise)}."

    def svg(self) -> SafeString:
        """Draw the bins' points with their 95% bounds over the diagonal."""
        known = [bin for bin in self.bins if bin.n]
        line = "L".join(f"{_SIDE * bin.predicted:.1f} {_up(bin.observed):.1f}" for bin in known)
        bounds = "".join(
            f"M{_SIDE * bin.predicted:.1f} {_up(bin.lower):.1f}V{_up(bin.upper):.1f}" for bin in known
        )
        dots = "".join(f"M{_SIDE * bin.predicted:.1f} {_up(bin.observed):.1f}h0" for bin in known)
        grid = "".join(f"M0 {_up(share):.0f}H{_SIDE:.0f}" for share in (0.0, 0.25, 0.5, 0.75, 1.0))
        return format_html(
            '<svg viewBox="0 0 {0} {0}" preserveAspectRatio="none" role="img" aria-label="{1}">{2}</svg>',
            int(_SIDE), self.summary,
            mark_safe(
                f'<path class="grid" d="{grid}"/><path class="baseline" d="M0 {_SIDE:.0f}L{_SIDE:.0f} 0"/>'
                f'<path class="bounds" d="{bounds}"/><path class="line" d="M{line}"/><path class="dot" d="{dots}"/>'
            ),
        )  # fmt: skip


def _up(share: float) -> float:
    return _SIDE * (1 - share)


def reliability_of(outcome: OutcomeSummary | None, positive_class: str) -> ReliabilityCurve | None:
    """Compare what a classifier promised with what happened; None without labelled probabilities."""
    if isinstance(outcome, BinaryOutcomeSummary):
        hits, misses, of = outcome.positives, outcome.negatives, positive_class
    elif isinstance(outcome, MulticlassOutcomeSummary):
        hits, misses, of = outcome.right, outcome.wrong, "the answered class"
    else:
        return None
    error = expected_calibration_error(hits, misses)
    return ReliabilityCurve(reliability(hits, misses), error, of) if error.value is not None else None
