"""All benchmarks one after another, as `make bench` runs them: `python -m tests.performance [--quick]`.

Prints one table and writes `bench-results.json` at the top of the checkout. Each bench is a process of its own that
checks what its contenders answer; every ratio compares runs of one round on the same machine.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
RESULTS = CHECKOUT / "bench-results.json"


@dataclass(frozen=True)
class Bench:
    """A module that measures and writes its numbers under `name`; `quick` are its options for a smoke run."""

    name: str
    quick: tuple[str, ...]


BENCHES = (
    Bench("serving", ("--workers", "1", "--connections", "32", "--rounds", "1", "--seconds", "0.5")),
    Bench("logging", ("--rounds", "1", "--batches", "8")),
    Bench("drift", ("--rounds", "1", "--evidently-rounds", "1")),
)


@dataclass(frozen=True)
class Line:
    """One comparison: a larger `ratio` is better for us."""

    what: str
    unit: str
    ours: dict[str, float]
    peer_name: str
    peer: dict[str, float]
    ratio: dict[str, float]
    goal: str


# -- running -----------------------------------------------------------------------------------------------------------
def run(bench: Bench, *, quick: bool) -> Any:
    """Run one bench; its own tables go to the terminal as they come."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "numbers.json"
        module = f"tests.performance.{bench.name}_bench"
        command = [sys.executable, "-m", module, "--json", str(path), *(bench.quick if quick else ())]
        subprocess.run(command, cwd=CHECKOUT, check=True)
        return json.loads(path.read_text())[bench.name]


def machine() -> dict[str, Any]:
    """Say where and beside how much other work the numbers were measured."""
    return {
        "processors": os.cpu_count(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


# -- one table ---------------------------------------------------------------------------------------------------------
def lines(results: dict[str, Any]) -> Iterator[Line]:
    """Read every comparison out of the benches' numbers."""
    yield from _serving_lines(results["serving"])
    yield from _logging_lines(results["logging"])
    yield from _drift_lines(results["drift"])


def _serving_lines(settings: list[dict[str, Any]]) -> Iterator[Line]:
    names = {"fastapi": "FastAPI", "asgi": "raw ASGI"}
    for setting in settings:
        for peer, ratio in setting["ratios"].items():
            yield Line(
                f"V2 JSON, {setting['connections']} connection(s), {setting['workers']} worker(s)",
                "requests/s",
                setting["contenders"]["driftline"]["requests_per_s"],
                names[peer],
                setting["contenders"][peer]["requests_per_s"],
                ratio["requests_per_s"],
                ">= 3x" if peer == "fastapi" and setting["connections"] == 32 else "",
            )


def _logging_lines(settings: list[dict[str, Any]]) -> Iterator[Line]:
    for setting in settings:
        rates = setting["rows_per_s"]
        what = f"logging API, batches of {setting['rows_a_batch']}, {setting['connections']} connection(s)"
        yield Line(
            what, "rows/s", rates["driftline"], "bare COPY", rates["copy"], setting["ratio"], ">= 0.25x"
        )


def _drift_lines(cases: dict[str, Any]) -> Iterator[Line]:
    names = {"evidently": "Evidently", "plain": "NumPy + SciPy"}
    for case, numbers in cases.items():
        for peer, ratio in numbers["ratios"].items():
            yield Line(
                f"a day of 100,000 rows, {case.replace('_', ' ')}",
                "ms",
                numbers["ms"]["ours"],
                names[peer],
                numbers["ms"][peer],
                ratio,
                ">= 50x" if peer == "evidently" else "",
            )


def show(rows: list[Line]) -> None:
    """Print medians with their spreads; a ratio above 1 means that ours is better."""
    print(f"\n{'what':58}{'ours':>32}  {'peer':14}{'':>32}{'ratio':>24}  goal")
    for row in rows:
        print(
            f"{f'{row.what} ({row.unit})':58}{_number(row.ours):>32}  {row.peer_name:14}{_number(row.peer):>32}"
            f"{_number(row.ratio):>24}  {row.goal}"
        )


def _number(spread: dict[str, float]) -> str:
    digits = 0 if spread["median"] >= 100 else 1 if spread["median"] >= 10 else 2
    return f"{spread['median']:,.{digits}f} [{spread['min']:,.{digits}f}-{spread['max']:,.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.performance", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of each: smoke, not numbers")
    options = parser.parse_args()
    results: dict[str, Any] = {"machine": machine(), "quick": options.quick}
    began = time.monotonic()
    for bench in BENCHES:
        results[bench.name] = run(bench, quick=options.quick)
    results["machine"]["load_average_after"] = round(os.getloadavg()[0], 2)
    results["seconds"] = round(time.monotonic() - began)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    show(list(lines(results)))
    print(f"\nWritten to {RESULTS.name}; load average {results['machine']['load_average']} before.")


if __name__ == "__main__":
    main()
