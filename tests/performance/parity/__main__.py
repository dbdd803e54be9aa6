"""How far our numbers lie from exact ones, and which decisions that turns: `python -m tests.performance.parity`.

It reads data sets of statsmodels, which is in no list of ours: `.venv/bin/uv pip install statsmodels` first.

Three tables. Drift kernels where every value has a cell of its own: the formulae alone, against SciPy. The same
kernels and Evidently's tests on columns that the grid was not chosen on (scikit-learn's and statsmodels' data sets,
and made-up hard ones), each with windows as the file has them and windows shifted by a little: the largest difference
between summary and raw rows, and the decisions flipped, by our calibrated limits and by Evidently's lines; Evidently's
scores are by its own code on the raw rows. Performance metrics from stored summaries, against scikit-learn and
Evidently on the same rows. Everything is drawn from one seed.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tests.performance.parity import drift, outcomes
from tests.performance.parity.columns import comparisons
from tests.performance.parity.drift import Tally

SEED = 20261125


def show_formulae(furthest: dict[str, float]) -> None:
    print("\nformulae: the largest difference to SciPy where each value has a cell of its own")
    for name, difference in furthest.items():
        print(f"  {name:40}{difference:>12.1e}")


def show_drift(groups: dict[str, dict[str, Tally]]) -> None:
    names = list(next(iter(groups.values())))
    print("\nsummaries against raw rows: the largest difference, and decisions flipped of those compared")
    print(f"  {'':34}{'windows':>8}" + "".join(f"{name.replace('evidently ', 'E '):>21}" for name in names))
    for group, tallies in groups.items():
        _show_row(group, tallies, names)
    _show_row("all", _all_of(groups.values()), names)
    print("\ndecisions flipped, by column:")
    for name in names:
        flipped = [
            column for tallies in groups.values() if name in tallies for column in tallies[name].flipped
        ]
        told = ", ".join(f"{column} ({flipped.count(column)})" for column in dict.fromkeys(flipped))
        print(f"  {name:28}{len(flipped):>4}  {told}")


def _show_row(group: str, tallies: dict[str, Tally], names: list[str]) -> None:
    windows = max(tally.compared for tally in tallies.values())
    cells = "".join(
        f"{f'{t.furthest:.2g}, {t.flips} of {t.compared}' if (t := tallies.get(name)) else '':>21}"
        for name in names
    )
    print(f"  {group:34}{windows:>8}{cells}")


def _all_of(groups: Iterable[dict[str, Tally]]) -> dict[str, Tally]:
    total: dict[str, Tally] = {}
    for tallies in groups:
        for name, tally in tallies.items():
            sum_of = total.setdefault(name, Tally())
            sum_of.compared += tally.compared
            sum_of.flips += tally.flips
            sum_of.furthest = max(sum_of.furthest, tally.furthest)
    return total


def show_outcomes(found: dict[tuple[str, str], dict[str, outcomes.Furthest]]) -> None:
    print("\nperformance from stored summaries: the largest difference, and on which answers")
    for (task, metric), rivals in sorted(found.items()):
        cells = "".join(f"{rival:>14} {one.difference:.1e} ({one.where})" for rival, one in rivals.items())
        print(f"  {task:12}{metric:26}{cells}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.parity", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    options = parser.parse_args()
    rng = np.random.default_rng(SEED)
    furthest = drift.formulae(rng)
    groups = drift.compare_all(comparisons(rng))
    measured = outcomes.compare_all(outcomes.answers(rng)) | outcomes.compare_queries(rng)
    show_formulae(furthest)
    show_drift(groups)
    show_outcomes(measured)
    if options.json:
        options.json.write_text(json.dumps(_plain(furthest, groups, measured), indent=2))


def _plain(furthest: dict[str, float], groups: Any, measured: Any) -> dict[str, Any]:
    return {
        "formulae": furthest,
        "drift": {group: {name: vars(t) for name, t in tallies.items()} for group, tallies in groups.items()},
        "performance": {
            " ".join(key): {rival: vars(one) for rival, one in rivals.items()}
            for key, rivals in measured.items()
        },
    }


if __name__ == "__main__":
    main()
