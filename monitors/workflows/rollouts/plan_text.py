"""The steps of a plan as people write them: one a line, such as `5% for 1 h and 1,000 rows`."""

import re
from collections.abc import Sequence

from monitors.workflows.rollouts.plan import PlannedStep

EXAMPLE = "5% for 1 h and 1,000 rows"
_UNITS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}
_LINE = re.compile(
    r"(?P<percent>\d{1,2}(?:\.\d{1,8})?)\s*%"
    r"(?:\s+for\s+(?P<length>\d{1,9}(?:\.\d{1,4})?)\s*(?P<unit>s|min|h|d))?"
    r"(?:\s+and\s+(?P<rows>\d[\d,]{0,14})\s+rows?)?"
    r"(?:\s+and\s+(?P<requests>\d[\d,]{0,14})\s+requests?)?"
)


class UnreadableStep(ValueError):
    """A line is no step; the message says how one is written."""


def read_steps(text: str) -> list[dict[str, float | int]]:
    """Read one step a line, as `RolloutPlan.parse` takes them; raises UnreadableStep."""
    return [_read_step(line.strip()) for line in text.splitlines() if line.strip()]


def _read_step(line: str) -> dict[str, float | int]:
    found = _LINE.fullmatch(line)
    if found is None:
        raise UnreadableStep(f"{line[:64]!r} is no step; write one as {EXAMPLE}.")
    seconds = float(found["length"] or 0) * _UNITS[found["unit"] or "s"]
    return {
        "weight": round(float(found["percent"]) / 100, 10),
        "seconds": round(seconds),
        **{unit: int((found[unit] or "0").replace(",", "")) for unit in ("rows", "requests")},
    }


def write_steps(steps: Sequence[PlannedStep]) -> str:
    """Write steps, one a line.

    >>> write_steps([PlannedStep(0.05, 3600, 1000)])
    '5% for 1 h and 1,000 rows'
    """
    return "\n".join(_write_step(step) for step in steps)


def _write_step(step: PlannedStep) -> str:
    percent = f"{step.weight:.8%}".rstrip("%").rstrip("0").rstrip(".")
    counts = {"rows": step.rows, "requests": step.requests}
    least = [f" and {count:,} {unit}" for unit, count in counts.items() if count]
    return f"{percent}% for {write_length(step.seconds)}{''.join(least)}"


def write_length(seconds: int) -> str:
    """Write a length of time in the largest unit in which it is whole.

    >>> write_length(5400), write_length(86400)
    ('90 min', '1 d')
    """
    unit = next(
        unit for unit in ("d", "h", "min", "s") if seconds % _UNITS[unit] == 0 and (seconds or unit == "s")
    )
    return f"{seconds // _UNITS[unit]:,} {unit}".replace(",", "")
