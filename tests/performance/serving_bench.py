"""The hot path beside two peers: `python -m tests.performance.serving_bench [--json PATH]`.

All answer the same V2 bytes with the same tree ensemble: 30 floats, one row a request. Ours checks a token, counts
and brings every prediction to the disk before it answers; the peers do none of that. Rounds are interleaved, so
that noise falls on all alike; ratios pair runs of one round.

Three parts. `throughput`: closed loop, as many workers each. `fsync`: what each way to bring the spool to the disk
costs, and what the log costs as a whole. `shadow`: the champion's latency with and without a shadow of the same cost,
at the same arrivals, with the server on one core, which it has for itself where there are two, and with a spare one.

Clients and servers share the machine's cores, so with as many workers as cores no server gets all that it could use.
`server us` is the processor time of all the server's processes for one request, which such a shortage does not
change; `x by CPU` is the ratio of it, that is of requests for one second of a server's processor. `client core` is
the client's own share of a core, marked `*` where it is so high that it may be the limit.
"""

import argparse
import json
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from tests.performance.contenders import Contender, build_model, start_driftline, start_peer, write_questions
from tests.performance.load_client import Load, Question, poisson_arrivals, run_arrivals, run_load
from tests.performance.rounds import interleave, measure, show, spread, summarise, text
from tests.performance.shadow_counts import read_shadow_counts

SHADOW_SHARE = 0.4  # of one core's capacity, so that a champion and a shadow fit on one core


# -- throughput --------------------------------------------------------------------------------------------------------
def bench_throughput(
    model: bytes, questions: list[Question], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Measure ours beside the peers, each with as many workers."""
    results = []
    for workers in options.workers:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            contenders = [start_driftline(stack, Path(folder), model, workers=workers)]
            contenders += [
                start_peer(stack, name, Path(folder) / "model.onnx", workers=workers)
                for name in ("fastapi", "asgi")
            ]
            for connections in options.connections:
                loads = measure(
                    dict.fromkeys(contenders, questions), connections, options.rounds, options.seconds
                )
                summary = {"workers": workers, "connections": connections, **summarise(loads)}
                results.append(summary)
                show(
                    f"single-row V2 JSON, {workers} worker(s), {connections} connection(s), closed loop",
                    summary,
                )
    return results


# -- the spool on the disk ---------------------------------------------------------------------------------------------
def bench_fsync(model: bytes, questions: list[Question], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the three ways to bring the spool to the disk beside the same server without a log, and FastAPI."""
    results = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder)
        contenders = [
            start_driftline(stack, home / "interval", model, name="interval (default)"),
            start_driftline(stack, home / "group", model, name="group", fsync="group"),
            start_driftline(stack, home / "off", model, name="off", fsync="off"),
            start_driftline(stack, home / "always", model, name="always", fsync="always"),
            start_driftline(stack, home / "unlogged", model, name="no log", fsync="off", with_log=False),
            start_peer(stack, "fastapi", home / "group" / "model.onnx"),
        ]
        for connections in (32, 1):
            loads = measure(
                dict.fromkeys(contenders, questions), connections, options.rounds, options.seconds
            )
            summary = {"connections": connections, **summarise(loads, ours="interval (default)")}
            results.append(summary)
            show(f"DRIFTLINE_SPOOL_FSYNC, {connections} connection(s), closed loop", summary)
            _show_cost(summary)
    return results


def _show_cost(summary: dict[str, Any]) -> None:
    default, off = summary["contenders"]["interval (default)"], summary["contenders"]["off"]
    waits = default["p50_ms"]["median"] - off["p50_ms"]["median"]
    share = 1 / summary["ratios"]["off"]["requests_per_s"]["median"] - 1
    print(
        f"The default, which survives the machine, costs {waits:+.2f} ms at p50 and lets `off`, which survives the "
        f"process alone, answer {share:+.0%} requests; a power loss costs `off` what the kernel had not yet written."
    )
    without = summary["contenders"]["no log"]
    fewer = 1 - summary["ratios"]["no log"]["requests_per_s"]["median"]
    extra_us = default["server_cpu_us"]["median"] - without["server_cpu_us"]["median"]
    print(
        f"The log as a whole costs {fewer:.0%} of the requests a second that the same server answers without it, "
        f"and {extra_us:+.1f} us of {default['server_cpu_us']['median']:.1f} us of processor time a request."
    )


# -- a shadow of the same cost -----------------------------------------------------------------------------------------
def bench_shadow(
    model: bytes, questions: list[Question], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Measure the champion with and without a shadow, at the same arrivals."""
    cores = sorted(os.sched_getaffinity(0))
    places: list[tuple[str, set[int]]] = [("the server on one core", {cores[0]})]
    if len(cores) > 1:
        places.append(("with a spare core", set(cores)))
    results = []
    for place, allowed in places:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            home = Path(folder)
            contenders = [
                start_driftline(stack, home / "alone", model, name="no shadow", cores=allowed),
                start_driftline(
                    stack, home / "shadowed", model, name="shadow", with_shadow=True, cores=allowed
                ),
            ]
            os.sched_setaffinity(0, set(cores) - allowed or set(cores))  # the client keeps off the one core
            measured = _measure_shadow(contenders, questions, options)
            os.sched_setaffinity(0, cores)
            counts = read_shadow_counts(home / "shadowed")
            results.append({"place": place, "counts": msgspec.to_builtins(counts), **measured})
            _show_shadow(results[-1])
            print(counts.describe(), flush=True)
    return results


def _measure_shadow(
    contenders: list[Contender], questions: list[Question], options: argparse.Namespace
) -> dict[str, Any]:
    capacity = run_load(contenders[0].port, questions, 32, options.seconds).rate
    rate = SHADOW_SHARE * capacity

    def run(contender: Contender, number: int) -> Load:
        arrivals = poisson_arrivals(rate, options.seconds, seed=number)
        return run_arrivals(contender.port, questions, arrivals)

    for contender in contenders:
        run(contender, 0)
    loads = interleave(contenders, run, options.rounds)
    return {
        "arrivals_per_s": rate,
        "states": {
            name: {
                "p50_ms": spread([run.quantile_ms(0.50) for run in runs]),
                "p99_ms": spread([run.quantile_ms(0.99) for run in runs]),
                "server_cpu_us": spread([run.server_cpu_us for run in runs]),
                "slip_p99_ms": spread([run.slip_ms(0.99) for run in runs]),
                "client_cores": spread([run.client_cores for run in runs]),
                "unanswered": sum(run.unanswered for run in runs),
                "refused": sum(run.refused for run in runs),
            }
            for name, runs in loads.items()
        },
        "ratios": {
            f"p{share * 100:.0f}": spread(
                [
                    b.quantile_ms(share) / a.quantile_ms(share)
                    for a, b in zip(loads["no shadow"], loads["shadow"], strict=True)
                ]
            )
            for share in (0.50, 0.99)
        },
    }


def _show_shadow(result: dict[str, Any]) -> None:
    print(f"\nchampion, {result['place']}, {result['arrivals_per_s']:,.0f} Poisson arrivals/s, open loop")
    print(f"{'state':12}{'p50 ms':>22}{'p99 ms':>22}{'server us':>10}{'slip p99 ms':>13}{'client core':>12}")
    for name, row in result["states"].items():
        print(
            f"{name:12}{text(row['p50_ms'], 2):>22}{text(row['p99_ms'], 2):>22}"
            f"{row['server_cpu_us']['median']:>10.0f}{row['slip_p99_ms']['median']:>13.2f}"
            f"{row['client_cores']['median']:>12.2f}"
        )
    ratios = result["ratios"]
    print(f"with / without: p50 {text(ratios['p50'], 2)}, p99 {text(ratios['p99'], 2)}")


PARTS = {"throughput": bench_throughput, "fsync": bench_fsync, "shadow": bench_shadow}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--connections", type=int, nargs="*", default=[32, 1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    model, rows = build_model()
    questions = write_questions(model, rows)
    results = {part: PARTS[part](model, questions, options) for part in options.parts}
    if options.json:
        options.json.write_text(json.dumps({"serving": results}, indent=2))


if __name__ == "__main__":
    main()
