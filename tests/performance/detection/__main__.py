"""What `make bench-detection` runs: `python -m tests.performance.detection [--quick] [--settings N ...] [--json PATH]`.

Who notices what, at the same rate of false alarms. Prints two tables and writes them as JSON, by default to
`bench-detection.json` at the top of the checkout:

(a) power and delay, each side's one threshold tuned on separate quiet windows to 10 flagged ones per 1,000: over all
    worlds, and again in those with independent rows and in those with dependent rows alone; `quiet` is what the
    thresholds then flag of the quiet windows that they were not tuned on;
(b) what everybody flags as shipped, per 1,000 quiet windows.

A window is flagged when any of its 20 columns is; of a shifted window one column is shifted.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from tests.performance.detection.contenders import OURS, everybody
from tests.performance.detection.trials import Effort, Setting, run
from tests.performance.detection.worlds import COURSE_LENGTH

CHECKOUT = Path(__file__).resolve().parents[3]
# Below it nobody is expected to see anything: there ours may say `insufficient`.
MIN_POWER = 0.2
CHANCE = 0.05

# Evidently takes other tests above 1,000 rows of reference: the first two settings are below.
SETTINGS = (
    (Setting(50, 20, 50), Effort(24, 6, 14, 14)),
    (Setting(200, 20, 50), Effort(24, 6, 14, 14)),
    (Setting(200, 60, 100), Effort(24, 6, 14, 14)),
    (Setting(500, 60, 100), Effort(24, 6, 14, 14)),
    (Setting(5_000, 60, 500), Effort(16, 4, 14, 14)),
    (Setting(100_000, 60, 500), Effort(8, 2, 14, 14)),
)
QUICK = ((Setting(200, 20, 50), Effort(2, 1, 14, 4)),)


def measure(chosen: Sequence[tuple[Setting, Effort]]) -> dict[str, Any]:
    """Run the chosen settings; each gives the same numbers every time, whatever the others are."""
    settings = []
    with everybody() as contenders:
        for setting, effort in chosen:
            settings.append(run(contenders, setting, effort, seed=2026))
            print(f"{setting}: {_cpu_s():.0f} CPU seconds so far", file=sys.stderr)
    return {
        "settings": settings,
        "goal": {group: goal(settings, group) for group in ("all", "independent", "dependent")},
        "cpu_s": round(_cpu_s()),
    }


def _cpu_s() -> float:
    """Processor time of this process and of NannyML's, once it has ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def goal(settings: list[dict[str, Any]], group: str) -> dict[str, int]:
    """Count the cells where ours has at least the best rival's power, and the courses where it is no slower.

    `surely_weaker` and `surely_slower` count those of the others that are beyond chance: by a sign test at 5% on the
    windows, or courses, that the two judged differently. A cell that ours calls `insufficient` is one that it missed,
    except where the best rival's power is under 0.2.
    """
    power, delay = [], []
    for setting in settings:
        numbers = setting["groups"][group]
        for cell, by in numbers["power"].items():
            best = max((name for name in by if name != OURS), key=by.__getitem__)
            excused = numbers["insufficient"][OURS] == 1 and by[best] < MIN_POWER
            wins = numbers["ours_alone"][cell][best], numbers["rival_alone"][cell][best]
            power.append((by[OURS] >= by[best] or excused, wins))
        for course, by in numbers["delay"].items():
            best = min((name for name in by if name != OURS), key=by.__getitem__)
            wins = numbers["ours_first"][course][best], numbers["rival_first"][course][best]
            delay.append((by[OURS] <= by[best], wins))
    return {
        "cells": len(power),
        "as_powerful": sum(reached for reached, _ in power),
        "surely_weaker": sum(not reached and _surely_fewer(*wins) for reached, wins in power),
        "courses": len(delay),
        "no_slower": sum(reached for reached, _ in delay),
        "surely_slower": sum(not reached and _surely_fewer(*wins) for reached, wins in delay),
    }


def _surely_fewer(ours: int, theirs: int) -> bool:
    differed = ours + theirs
    return ours < theirs and bool(stats.binomtest(ours, differed).pvalue < CHANCE)


def show(results: dict[str, Any]) -> None:
    names = list(results["settings"][0]["groups"]["all"]["tuned_line"])
    for group, counted in results["goal"].items():
        print(
            f"\n(a) {group} worlds: power at 10 false alarms per 1,000 windows; ours is at least the best rival in "
            f"{counted['as_powerful']} of {counted['cells']} cells (beyond chance below in "
            f"{counted['surely_weaker']}), no slower in {counted['no_slower']} of {counted['courses']} courses "
            f"(beyond chance slower in {counted['surely_slower']})"
        )
        print(
            f"{'rows':>8}{'reference':>11}  {'shift':17}{'windows':>8}"
            + "".join(f"{name:>12}" for name in names)
        )
        for setting in results["settings"]:
            numbers = setting["groups"][group]
            head = f"{setting['rows']:>8,}{setting['reference_rows']:>11,}  "
            shares = {"quiet": {name: numbers["per_1000_tuned"][name] / 1_000 for name in names}}
            windows = {"quiet": numbers["quiet_windows"]} | numbers["windows"]
            for shift, by in (shares | numbers["power"]).items():
                print(
                    f"{head}{shift:17}{windows[shift]:>8}" + "".join(f"{by[name]:>12.3f}" for name in names)
                )
            for shift, by in numbers["delay"].items():
                print(
                    f"{head}{f'{shift}, delay':17}{numbers['windows'][shift] // COURSE_LENGTH:>8}"
                    + "".join(f"{by[name]:>12.1f}" for name in names)
                )
    print("\n(b) flagged of 1,000 quiet windows, everybody as shipped")
    print(
        f"{'rows':>8}{'reference':>11}  {'worlds':17}{'windows':>8}"
        + "".join(f"{name:>12}" for name in names)
    )
    for setting in results["settings"]:
        for group, numbers in setting["groups"].items():
            by = numbers["per_1000_as_shipped"]
            print(
                f"{setting['rows']:>8,}{setting['reference_rows']:>11,}  {group:17}{numbers['quiet_windows']:>8}"
                + "".join(f"{by[name]:>12.0f}" for name in names)
            )
    print(f"\n{results['cpu_s']} CPU seconds")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.detection", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small setting: smoke, not numbers")
    parser.add_argument(
        "--settings",
        type=int,
        nargs="+",
        choices=range(1, len(SETTINGS) + 1),
        metavar="N",
        help="only these of the six, from 1",
    )
    parser.add_argument("--json", type=Path, default=CHECKOUT / "bench-detection.json")
    options = parser.parse_args()
    chosen = [SETTINGS[number - 1] for number in options.settings] if options.settings else SETTINGS
    results = measure(QUICK if options.quick else chosen)
    options.json.write_text(json.dumps(results, indent=2) + "\n")
    show(results)


if __name__ == "__main__":
    main()
