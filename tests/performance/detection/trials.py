"""One setting of rows and reference: thresholds tuned on quiet windows; power, delay, false alarms on others."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.performance.detection.contenders import CONTENDERS, Fitted
from tests.performance.detection.worlds import (
    COURSE_LENGTH,
    COURSES,
    SHIFTS,
    WORLDS,
    Columns,
    Shift,
    Window,
    World,
)

FALSE_ALARMS = 0.01


@dataclass(frozen=True)
class Setting:
    """How many rows a window has, and the reference: its days and their rows."""

    rows: int
    days: int
    rows_a_day: int

    @property
    def reference_rows(self) -> int:
        return self.days * self.rows_a_day


@dataclass(frozen=True)
class Effort:
    """How many references a world gets on each side, and how many quiet windows, and shifted ones, follow each."""

    references: int
    quiet: int
    shifted: int


def run(setting: Setting, effort: Effort, *, seed: int) -> dict[str, Any]:
    """Measure a setting: false alarms as shipped; power and delay at thresholds tuned apart to equal false alarms."""
    worlds = [world for world in WORLDS if world.most_rows_a_day >= max(setting.rows, setting.rows_a_day)]
    tuning = {world.name: _Loudness() for world in worlds}
    testing = {world.name: _Loudness() for world in worlds}
    for index, world in enumerate(worlds):
        # As many independent windows as others, however many worlds there are of each.
        alike = sum(other.depends == world.depends for other in worlds)
        for part, loudness in ((0, tuning[world.name]), (1, testing[world.name])):
            for repeat in range(effort.references * 2 // alike):
                rng = np.random.default_rng([seed, setting.rows, setting.reference_rows, index, part, repeat])
                _run_reference(world, setting, effort, rng, loudness, shifted=part == 1)
    return _report(setting, worlds, tuning, testing)


class _Loudness:
    """What the contenders said in one world: quiet windows, shifted ones by shift, and courses of windows by name."""

    def __init__(self) -> None:
        self.quiet: list[list[float]] = []
        self.shifted: dict[str, list[list[float]]] = {}
        self.courses: dict[str, list[list[list[float]]]] = {}


def _run_reference(
    world: World,
    setting: Setting,
    effort: Effort,
    rng: np.random.Generator,
    loudness: _Loudness,
    *,
    shifted: bool,
) -> None:
    process = world.start(rng)
    reference = process.reference(setting.days, setting.rows_a_day)
    fitted: list[Fitted] = [contender(reference, int(rng.integers(1 << 31))) for contender in CONTENDERS]
    course: list[tuple[Columns, list[dict[str, object]]]] = []
    for number in range(effort.quiet):
        window = process.window(setting.rows).columns
        measured = [{name: one.measure(name, column) for name, column in window.items()} for one in fitted]
        loudness.quiet.append([one.loudness(seen) for one, seen in zip(fitted, measured, strict=True)])
        if shifted and number < effort.shifted:
            for shift in SHIFTS:
                said = _after(
                    shift, 1.0, reference, window, fitted, measured, _column(shift, window, rng), rng
                )
                loudness.shifted.setdefault(shift.name, []).append(said)
        if shifted:
            course.append((window, measured))
        if len(course) == COURSE_LENGTH:
            _run_courses(reference, fitted, course, loudness, rng)
            course = []


def _run_courses(
    reference: Window,
    fitted: list[Fitted],
    windows: list[tuple[Columns, list[dict[str, object]]]],
    loudness: _Loudness,
    rng: np.random.Generator,
) -> None:
    """Let the mean of one column change over successive windows that were measured already."""
    mean = SHIFTS[0]
    column = _column(mean, windows[0][0], rng)
    for name, course in COURSES.items():
        said = [
            _after(mean, size, reference, window, fitted, measured, column, rng)
            for size, (window, measured) in zip(course, windows, strict=True)
        ]
        loudness.courses.setdefault(name, []).append(said)


def _column(shift: Shift, window: Columns, rng: np.random.Generator) -> str:
    return str(
        rng.choice([name for name, values in window.items() if (values.dtype != object) == shift.numeric])
    )


def _after(
    shift: Shift,
    size: float,
    reference: Window,
    window: Columns,
    fitted: list[Fitted],
    measured: list[dict[str, object]],
    column: str,
    rng: np.random.Generator,
) -> list[float]:
    """Shift one column of a window that was measured already."""
    values = shift.apply(window[column], reference.columns[column], size, rng)
    return [
        one.loudness(seen | {column: one.measure(column, values)})
        for one, seen in zip(fitted, measured, strict=True)
    ]


# -- numbers -----------------------------------------------------------------------------------------------------------
def _report(
    setting: Setting, worlds: list[World], tuning: dict[str, _Loudness], testing: dict[str, _Loudness]
) -> dict[str, Any]:
    groups = {
        "all": [world.name for world in worlds],
        "independent": [world.name for world in worlds if not world.depends],
        "dependent": [world.name for world in worlds if world.depends],
    }
    return {
        "rows": setting.rows,
        "reference_rows": setting.reference_rows,
        "reference_days": setting.days,
        "groups": {
            name: _group([tuning[world] for world in members], [testing[world] for world in members])
            for name, members in groups.items()
        },
    }


def _group(tuning: list[_Loudness], testing: list[_Loudness]) -> dict[str, Any]:
    lines = np.quantile(
        np.concatenate([np.array(one.quiet) for one in tuning]), 1 - FALSE_ALARMS, axis=0, method="higher"
    )
    quiet = np.concatenate([np.array(one.quiet) for one in testing])
    shifted = {
        shift.name: np.concatenate([np.array(one.shifted[shift.name]) for one in testing]) for shift in SHIFTS
    }
    courses = {
        name: np.concatenate([np.array(one.courses[name]) for one in testing if one.courses])
        for name in COURSES
    }
    return {
        "tuned_on": sum(len(one.quiet) for one in tuning),
        "quiet_windows": len(quiet),
        "tuned_line": _by_name(lines),
        "per_1000_as_shipped": _by_name(1_000 * (quiet >= 1).mean(axis=0)),
        "per_1000_tuned": _by_name(1_000 * (quiet > lines).mean(axis=0)),
        "power_as_shipped": {name: _by_name((said >= 1).mean(axis=0)) for name, said in shifted.items()},
        "power": {name: _by_name((said > lines).mean(axis=0)) for name, said in shifted.items()}
        | {name: _by_name((said > lines).mean(axis=(0, 1))) for name, said in courses.items()},
        "delay": {name: _by_name(_delay(said > lines)) for name, said in courses.items()},
    }


def _delay(flagged: np.ndarray) -> np.ndarray:
    """Count the windows to the first flag of each course, one more than all if there was none; their mean."""
    first = np.where(flagged.any(axis=1), flagged.argmax(axis=1) + 1, flagged.shape[1] + 1)
    return first.mean(axis=0)


def _by_name(values: np.ndarray) -> dict[str, float]:
    names = [contender.name for contender in CONTENDERS]
    return {name: float(f"{value:.5g}") for name, value in zip(names, values, strict=True)}
