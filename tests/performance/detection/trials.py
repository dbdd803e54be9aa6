"""One setting of rows and reference: thresholds tuned on quiet windows; power, delay, false alarms on others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.performance.detection.contenders import OURS, Contender, Fitted
from tests.performance.detection.worlds import (
    COURSE_LENGTH,
    COURSES,
    SHIFTS,
    WORLDS,
    Columns,
    Process,
    Shift,
    Window,
    World,
)

FALSE_ALARMS = 0.01
TUNING_WINDOWS = 7  # of each reference


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
    """How many references thresholds are tuned and tested on, and how many quiet, and shifted, windows test each.

    Windows of one reference are loud together, so that a threshold is known as well as it has references, not windows:
    `tuning` counts more of them than `testing`, with fewer windows each.
    """

    tuning: int
    testing: int
    quiet: int
    shifted: int


def run(
    contenders: Mapping[str, Contender], setting: Setting, effort: Effort, *, seed: int
) -> dict[str, Any]:
    """Measure a setting: false alarms as shipped; power and delay at thresholds tuned apart to equal false alarms."""
    worlds = [world for world in WORLDS if world.most_rows_a_day >= max(setting.rows, setting.rows_a_day)]
    tuning = {world.name: _Loudness() for world in worlds}
    testing = {world.name: _Loudness() for world in worlds}
    for index, world in enumerate(worlds):
        # As many independent windows as others, however many worlds there are of each.
        alike = sum(other.depends == world.depends for other in worlds)
        parts = (tuning[world.name], effort.tuning), (testing[world.name], effort.testing)
        for part, (loudness, references) in enumerate(parts):
            for repeat in range(references * 2 // alike):
                rng = np.random.default_rng([seed, setting.rows, setting.reference_rows, index, part, repeat])
                process = world.start(rng)
                reference = process.reference(setting.days, setting.rows_a_day)
                own = int(rng.integers(1 << 31))
                fitted = [contender(reference, setting.rows, own) for contender in contenders.values()]
                _run_reference(process, reference, fitted, setting, effort, rng, loudness, shifted=part == 1)
    return _report(list(contenders), setting, worlds, tuning, testing)


class _Loudness:
    """What the contenders said in one world: quiet windows, shifted ones by shift, and courses of windows by name."""

    def __init__(self) -> None:
        self.quiet: list[list[float]] = []
        self.shifted: dict[str, list[list[float]]] = {}
        self.courses: dict[str, list[list[list[float]]]] = {}


def _run_reference(
    process: Process,
    reference: Window,
    fitted: list[Fitted],
    setting: Setting,
    effort: Effort,
    rng: np.random.Generator,
    loudness: _Loudness,
    *,
    shifted: bool,
) -> None:
    course: list[tuple[Columns, list[dict[str, object]]]] = []
    for number in range(effort.quiet if shifted else TUNING_WINDOWS):
        window = process.window(setting.rows).columns
        measured = [one.measure(window) for one in fitted]
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
        one.loudness(seen | one.measure({column: values})) for one, seen in zip(fitted, measured, strict=True)
    ]


# -- numbers -----------------------------------------------------------------------------------------------------------
def _report(
    names: list[str],
    setting: Setting,
    worlds: list[World],
    tuning: dict[str, _Loudness],
    testing: dict[str, _Loudness],
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
            group: _group(names, [tuning[world] for world in members], [testing[world] for world in members])
            for group, members in groups.items()
        },
    }


def _group(names: list[str], tuning: list[_Loudness], testing: list[_Loudness]) -> dict[str, Any]:
    tuned_on = np.concatenate([np.array(one.quiet) for one in tuning])
    lines = np.quantile(
        np.where(np.isnan(tuned_on), -np.inf, tuned_on), 1 - FALSE_ALARMS, axis=0, method="higher"
    )
    quiet = np.concatenate([np.array(one.quiet) for one in testing])
    shifted = {
        shift.name: np.concatenate([np.array(one.shifted[shift.name]) for one in testing]) for shift in SHIFTS
    }
    courses = {
        name: np.concatenate([np.array(one.courses[name]) for one in testing if one.courses])
        for name in COURSES
    }
    flagged = {name: said > lines for name, said in shifted.items()}
    flagged |= {name: (said > lines).reshape(-1, len(names)) for name, said in courses.items()}
    firsts = {name: _first(said > lines) for name, said in courses.items()}

    def by_name(values: np.ndarray) -> dict[str, float]:
        return {name: float(f"{value:.5g}") for name, value in zip(names, values, strict=True)}

    return {
        "tuned_on": len(tuned_on),
        "quiet_windows": len(quiet),
        "tuned_line": by_name(lines),
        "insufficient": by_name(np.isnan(quiet).mean(axis=0)),
        "per_1000_as_shipped": by_name(1_000 * (quiet >= 1).mean(axis=0)),
        "per_1000_tuned": by_name(1_000 * (quiet > lines).mean(axis=0)),
        "power_as_shipped": {name: by_name((said >= 1).mean(axis=0)) for name, said in shifted.items()},
        "power": {name: by_name(said.mean(axis=0)) for name, said in flagged.items()},
        "delay": {name: by_name(first.mean(axis=0)) for name, first in firsts.items()},
        "windows": {name: len(said) for name, said in flagged.items()},
        # On the same windows: how many ours alone noticed, or noticed first, and how many a rival.
        "ours_alone": {name: _wins(names, said, np.greater) for name, said in flagged.items()},
        "rival_alone": {name: _wins(names, said, np.less) for name, said in flagged.items()},
        "ours_first": {name: _wins(names, first, np.less) for name, first in firsts.items()},
        "rival_first": {name: _wins(names, first, np.greater) for name, first in firsts.items()},
    }


def _first(flagged: np.ndarray) -> np.ndarray:
    """Count the windows to the first flag of each course; one more than all if there was none."""
    return np.where(flagged.any(axis=1), flagged.argmax(axis=1) + 1, flagged.shape[1] + 1)


def _wins(names: list[str], said: np.ndarray, better: np.ufunc) -> dict[str, int]:
    ours = said[:, names.index(OURS)]
    return {
        name: int(better(ours, theirs).sum())
        for name, theirs in zip(names, said.T, strict=True)
        if name != OURS
    }
