"""Interleaved rounds of load, and their summary: medians with spreads, ratios paired within a round."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tests.performance.contenders import Contender
from tests.performance.load_client import Load, Question, run_load

Spread = dict[str, float]
CLIENT_BOUND = 0.85  # of a core: beyond, the client may be what was measured


def measure(
    asked: Mapping[Contender, list[Question]], connections: int, rounds: int, seconds: float
) -> dict[str, list[Load]]:
    """Load each contender in turn with its questions, round after round, after one round that only warms."""
    for contender, questions in asked.items():
        run_load(contender.port, questions, connections, 0.5)
    return interleave(
        list(asked),
        lambda contender, _: run_load(contender.port, asked[contender], connections, seconds),
        rounds,
    )


def interleave(
    contenders: Sequence[Contender], run: Callable[[Contender, int], Load], rounds: int
) -> dict[str, list[Load]]:
    """Run each contender in turn, round after round, so that noise falls on all alike."""
    loads: dict[str, list[Load]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders:
            loads[contender.name].append(with_server_cpu(contender, partial(run, contender, number)))
    return loads


def with_server_cpu(contender: Contender, run: Callable[[], Load]) -> Load:
    """Run a load and note what it cost the server."""
    cpu = contender.cpu_seconds()
    load = run()
    load.server_cpu_s = contender.cpu_seconds() - cpu
    return load


def describe(runs: Sequence[Load]) -> dict[str, Any]:
    """Summarise one contender's runs."""
    return {
        "requests_per_s": spread([run.rate for run in runs]),
        "p50_ms": spread([run.quantile_ms(0.50) for run in runs]),
        "p99_ms": spread([run.quantile_ms(0.99) for run in runs]),
        "server_cpu_us": spread([run.server_cpu_us for run in runs]),
        "client_cores": spread([run.client_cores for run in runs]),
        "answers": sum(len(run.latencies_s) for run in runs),
        "answers_checked": sum(run.checked for run in runs),
    }


def compare(ours: Sequence[Load], theirs: Sequence[Load]) -> dict[str, Spread]:
    """Give ratios within a round, by the names of `describe`; above 1 ours is faster or cheaper."""
    pairs = list(zip(ours, theirs, strict=True))
    return {
        "requests_per_s": spread([a.rate / b.rate for a, b in pairs]),
        "server_cpu_us": spread([b.server_cpu_us / max(a.server_cpu_us, 1e-9) for a, b in pairs]),
        "p50_ms": spread([b.quantile_ms(0.50) / a.quantile_ms(0.50) for a, b in pairs]),
        "p99_ms": spread([b.quantile_ms(0.99) / a.quantile_ms(0.99) for a, b in pairs]),
    }


def summarise(loads: dict[str, list[Load]], ours: str = "driftline") -> dict[str, Any]:
    """Describe every contender, and compare ours with each other one."""
    return {
        "contenders": {name: describe(runs) for name, runs in loads.items()},
        "ratios": {name: compare(loads[ours], runs) for name, runs in loads.items() if name != ours},
    }


def spread(values: Sequence[float]) -> Spread:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def show(title: str, summary: dict[str, Any]) -> None:
    """Print the contenders of one setting as a table."""
    print(f"\n{title}")
    print(
        f"{'server':20}{'requests/s':>26}{'p50 ms':>20}{'p99 ms':>22}{'server us':>10}{'client core':>12}"
        f"{'ours x':>8}{'x by CPU':>9}{'checked':>9}"
    )
    for name, row in summary["contenders"].items():
        ratio = summary["ratios"].get(name)
        faster = f"{ratio['requests_per_s']['median']:.2f}" if ratio else ""
        cheaper = f"{ratio['server_cpu_us']['median']:.2f}" if ratio else ""
        cores = row["client_cores"]["median"]
        print(
            f"{name:20}{text(row['requests_per_s'], 0):>26}{text(row['p50_ms'], 2):>20}{text(row['p99_ms'], 2):>22}"
            f"{row['server_cpu_us']['median']:>10.0f}{f'{cores:.2f}' + '*' * (cores > CLIENT_BOUND):>12}"
            f"{faster:>8}{cheaper:>9}{row['answers_checked']:>9}",
            flush=True,
        )


def text(numbers: Spread, digits: int) -> str:
    """Write a median with its least and largest."""
    return f"{numbers['median']:,.{digits}f} [{numbers['min']:,.{digits}f}-{numbers['max']:,.{digits}f}]"
