"""Made-up models of few rows a day, of which nothing drifts: `python -m tests.performance.quiet_days [--references N]`.

References have 14 to 400 days, with gaps, partial first and last days, weekends without rows and changing volume; rows
of a day resemble each other or do not. Each is judged on quiet days, and on weeks, of its own process, as the product
judges by default. Prints how many of 1,000 quiet windows are flagged, and how soon a fault of 0.4 standard deviations
in one of the columns is.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from monitors.stats.drift.judging import judge_drift
from monitors.stats.drift.prepared import PreparedReference, prepare_reference
from monitors.stats.drift.reference_days import Days, DaySummary, count_days
from monitors.stats.drift.thresholds import NullDistributions, resample_null
from monitors.stats.mergeable.sketches import (
    CategoricalSummary,
    NumericSummary,
    merge_categories,
    merge_numbers,
    summarise_categories,
    summarise_numbers,
)

Columns = dict[str, NumericSummary | CategoricalSummary]
FIRST = date(2025, 1, 6)  # a Monday


@dataclass(frozen=True)
class Quiet:
    """A model on which nothing changes: its rows a day, and how far the levels of its days lie apart.

    The unit of `spread` is the standard deviation of the rows of one day.
    """

    rows: int
    spread: float
    columns: int = 3

    def day(self, rng: np.random.Generator, rows: int, *, days: int = 1, shift: float = 0.0) -> Columns:
        """Draw a window of so many days, of `rows` each; `shift` moves its first column."""
        parts: dict[str, list[NumericSummary | CategoricalSummary]] = {}
        for _ in range(days):
            for name in range(self.columns):
                level = rng.normal(shift if name == 0 else 0.0, self.spread)
                values = rng.normal(level, 1.0, rows)
                parts.setdefault(f"n{name}", []).append(summarise_numbers(values, centre=0.0))
            weights = rng.dirichlet(np.array([0.5, 0.3, 0.2]) / max(self.spread**2 / 4, 1e-6))
            levels = rng.choice(["a", "b", "c"], rows, p=weights)
            parts.setdefault("level", []).append(summarise_categories(levels.tolist()))
        return {name: _merged(found) for name, found in parts.items()}


def _merged(parts: list[NumericSummary | CategoricalSummary]) -> NumericSummary | CategoricalSummary:
    numbers = [part for part in parts if isinstance(part, NumericSummary)]
    return merge_numbers(numbers) if numbers else merge_categories(parts)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Shape:
    """What the days of a reference are like."""

    days: int
    weekends: bool = True
    gap: int = 0
    partial: bool = False
    growth: float = 1.0

    def rows_by_day(self, rows: int) -> Iterator[tuple[date, int]]:
        number = 0
        for position in range(self.days):
            day = FIRST + timedelta(days=number)
            number += 1 + (self.gap if position == self.days // 2 else 0)
            of_day = round(rows * self.growth ** (position / self.days - 1))
            if self.partial and position in (0, self.days - 1):
                of_day = max(of_day // 20, 1)
            if self.weekends or day.weekday() < 5:
                yield day, max(of_day, 1)


SHAPES = {
    "whole": Shape(60),
    "a year and more": Shape(400),
    "two weeks": Shape(14),
    "partial ends": Shape(30, partial=True),
    "no weekends": Shape(84, weekends=False),
    "a gap": Shape(40, gap=45),
    "growing": Shape(90, growth=4.0),
    "all of it": Shape(150, weekends=False, gap=20, partial=True, growth=2.0),
}


class Judged:
    """A reference drawn of a process, with what windows of its process are judged by."""

    def __init__(self, process: Quiet, shape: Shape, rng: np.random.Generator) -> None:
        days: list[DaySummary] = [
            (day, process.day(rng, rows)) for day, rows in shape.rows_by_day(process.rows)
        ]
        names = days[0][1].keys()
        self.references: dict[str, PreparedReference] = {
            name: prepare_reference(_merged([columns[name] for _, columns in days])) for name in names
        }
        self.days: dict[str, Days | None] = count_days(self.references, days)
        self.nulls: dict[tuple[str, int, int], NullDistributions] = {}

    def drifted(self, window: Columns, length: int) -> set[str]:
        """Name the columns that drifted in a window of so many days."""
        judged = judge_drift(self.references, window, lambda name, size: self._null(name, size, length))
        return {name for name, drift in judged.items() if drift.drifted}

    def _null(self, name: str, size: int, length: int) -> NullDistributions:
        if (name, size, length) not in self.nulls:
            self.nulls[name, size, length] = resample_null(
                self.references[name],
                size,
                rng=np.random.default_rng(size),
                days=self.days[name],
                length=length,
            )
        return self.nulls[name, size, length]


def false_alarms(
    process: Quiet, shape: Shape, rng: np.random.Generator, *, length: int, references: int, windows: int
) -> float:
    """Give the share of quiet windows of `length` days that are flagged, over new references."""
    flagged = 0
    for _ in range(references):
        judged = Judged(process, shape, rng)
        for _ in range(windows):
            flagged += bool(judged.drifted(process.day(rng, process.rows, days=length), length))
    return flagged / (references * windows)


def weeks_to_notice(process: Quiet, shape: Shape, rng: np.random.Generator, *, shift: float) -> int | None:
    """Count the weeks until a fault in one column is noticed, of three; None where it is not."""
    judged = Judged(process, shape, rng)
    for week in range(1, 4):
        if "n0" in judged.drifted(process.day(rng, process.rows, days=7, shift=shift), 7):
            return week
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--references", type=int, default=40)
    parser.add_argument("--windows", type=int, default=25)
    options = parser.parse_args()
    effort = {"references": options.references, "windows": options.windows}
    print("false alarms per 1,000 quiet windows (days / weeks), by rows a day and spread of days")
    for name, shape in SHAPES.items():
        for rows in (24, 200):
            said = []
            for spread in (0.0, 0.1, 0.2, 0.4, 1.0):
                rng = np.random.default_rng([2026, rows, round(spread * 10), shape.days])
                days, weeks = (
                    false_alarms(Quiet(rows, spread), shape, rng, length=length, **effort)
                    for length in (1, 7)
                )
                said.append(f"{spread}: {1000 * days:4.0f} /{1000 * weeks:4.0f}")
            print(f"{name:<16}{rows:>5} rows  " + "   ".join(said), flush=True)
    print("share of faults of 0.4 standard deviations noticed within 21 days, by weeks")
    for name, shape in SHAPES.items():
        rng = np.random.default_rng([2026, shape.days])
        found = [weeks_to_notice(Quiet(24, 0.0), shape, rng, shift=0.4) for _ in range(options.references)]
        noticed = [float(weeks) for weeks in found if weeks is not None]
        print(f"{name:<16}{len(noticed) / len(found):8.2f}   in {np.mean(noticed or [np.nan]):.1f} weeks")


if __name__ == "__main__":
    main()
