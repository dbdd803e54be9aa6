"""What `make bench-detection` runs: `python -m tests.performance.detection [--quick] [--json PATH]`.

Who notices what, at the same rate of false alarms. Prints two tables and writes them as JSON, by default to
`bench-detection.json` at the top of the checkout:

(a) power and delay, each side's one threshold tuned on separate quiet windows to 10 flagged ones per 1,000: over all
    worlds, and again in those with independent rows and in those with dependent rows alone;
(b) what everybody flags as shipped, per 1,000 quiet windows.

A window is flagged when any of its 20 columns is; of a shifted window one column is shifted.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from tests.performance.detection.contenders import CONTENDERS
from tests.performance.detection.trials import Effort, Setting, run

CHECKOUT = Path(__file__).resolve().parents[3]
OURS = CONTENDERS[0].name
RIVALS = [contender.name for contender in CONTENDERS[1:]]

# Evidently takes other tests above 1,000 rows of reference: the first two settings are below.
SETTINGS = (
    (Setting(50, 20, 50), Effort(4, 30, 20)),
    (Setting(200, 20, 50), Effort(4, 30, 20)),
    (Setting(200, 60, 100), Effort(4, 30, 20)),
    (Setting(500, 60, 100), Effort(4, 30, 20)),
    (Setting(5_000, 60, 500), Effort(2, 28, 15)),
    (Setting(100_000, 60, 500), Effort(1, 14, 8)),
)
QUICK = ((Setting(200, 20, 50), Effort(1, 14, 4)),)


def measure(*, quick: bool) -> dict[str, Any]:
    """Run every setting, the same numbers every time."""
    began = time.process_time()
    settings = [run(setting, effort, seed=2026) for setting, effort in (QUICK if quick else SETTINGS)]
    return {
        "quick": quick,
        "settings": settings,
        "goal": {group: goal(settings, group) for group in ("all", "independent", "dependent")},
        "cpu_s": round(time.process_time() - began),
    }


def goal(settings: list[dict[str, Any]], group: str) -> dict[str, int]:
    """Count the cells where ours has at least the best rival's power, and the courses where it is no slower."""
    power, delay = [], []
    for setting in settings:
        numbers = setting["groups"][group]
        power += [by[OURS] >= max(by[rival] for rival in RIVALS) for by in numbers["power"].values()]
        delay += [by[OURS] <= min(by[rival] for rival in RIVALS) for by in numbers["delay"].values()]
    return {
        "cells": len(power),
        "as_powerful": sum(power),
        "courses": len(delay),
        "no_slower": sum(delay),
    }


def show(results: dict[str, Any]) -> None:
    names = [contender.name for contender in CONTENDERS]
    for group, counted in results["goal"].items():
        print(
            f"\n(a) {group} worlds: power at 10 false alarms per 1,000 windows; ours is at least the best rival in "
            f"{counted['as_powerful']} of {counted['cells']} cells, no slower in {counted['no_slower']} of "
            f"{counted['courses']} courses"
        )
        print(f"{'rows':>8}{'reference':>11}  {'shift':14}" + "".join(f"{name:>12}" for name in names))
        for setting in results["settings"]:
            numbers = setting["groups"][group]
            head = f"{setting['rows']:>8,}{setting['reference_rows']:>11,}  "
            for shift, by in numbers["power"].items():
                print(f"{head}{shift:14}" + "".join(f"{by[name]:>12.2f}" for name in names))
            for shift, by in numbers["delay"].items():
                print(f"{head}{f'{shift}, delay':14}"[:35] + "".join(f"{by[name]:>12.1f}" for name in names))
    print("\n(b) flagged of 1,000 quiet windows, everybody as shipped")
    print(f"{'rows':>8}{'reference':>11}  {'worlds':14}" + "".join(f"{name:>12}" for name in names))
    for setting in results["settings"]:
        for group, numbers in setting["groups"].items():
            by = numbers["per_1000_as_shipped"]
            print(
                f"{setting['rows']:>8,}{setting['reference_rows']:>11,}  {group:14}"
                + "".join(f"{by[name]:>12.0f}" for name in names)
            )
    print(f"\n{results['cpu_s']} CPU seconds")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.detection", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small setting: smoke, not numbers")
    parser.add_argument("--json", type=Path, default=CHECKOUT / "bench-detection.json")
    options = parser.parse_args()
    results = measure(quick=options.quick)
    options.json.write_text(json.dumps(results, indent=2) + "\n")
    show(results)


if __name__ == "__main__":
    main()
