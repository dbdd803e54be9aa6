"""The sums of one custom metric over some rows: they add up, and give its value and interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce

from monitors.stats.mergeable.outcomes import Moments
from monitors.stats.mergeable.sketches import NumericSummary, merge_numbers


@dataclass(frozen=True, eq=False, slots=True)
class ExpressionSums:
    """What the values of a metric come to over `rows` rows that were looked at.

    `left_out` counts rows with a missing operand; those for which the condition does not hold are counted nowhere.
    `values` are of the rows that count. Only a minimum or maximum has the extremes, only a ratio `divisors` and
    `product` (the sum of value times divisor), and only a quantile the `sketch`.
    """

    rows: int
    left_out: int
    values: Moments
    minimum: float | None = None
    maximum: float | None = None
    divisors: Moments | None = None
    product: float = 0.0
    sketch: NumericSummary | None = None

    @property
    def n(self) -> int:
        """The rows that count."""
        return self.values.n

    def merge(self, other: ExpressionSums) -> ExpressionSums:
        """Add `other`, as if all rows had been one."""
        divisors = [part.divisors for part in (self, other) if part.divisors is not None]
        sketches = [part.sketch for part in (self, other) if part.sketch is not None]
        return ExpressionSums(
            rows=self.rows + other.rows,
            left_out=self.left_out + other.left_out,
            values=self.values.merge(other.values),
            minimum=min(_present(self.minimum, other.minimum), default=None),
            maximum=max(_present(self.maximum, other.maximum), default=None),
            divisors=reduce(Moments.merge, divisors) if divisors else None,
            product=self.product + other.product,
            sketch=merge_numbers(sketches) if sketches else None,
        )


def _present(*values: float | None) -> list[float]:
    return [value for value in values if value is not None]


def merge_expressions(parts: Iterable[Mapping[str, ExpressionSums]]) -> dict[str, ExpressionSums]:
    """Add up the sums of metrics, by their keys; those that some parts lack come from the others."""
    merged: dict[str, ExpressionSums] = {}
    for part in parts:
        for key, sums in part.items():
            merged[key] = merged[key].merge(sums) if key in merged else sums
    return merged
