"""What a user installs, beside FastAPI: `python -m tests.performance.installed_bench [--json PATH]`.

Everything that `manage.py up` starts runs in a home of its own with default settings: serving, drain, workers,
scheduler, PostgreSQL and Valkey, while independent clients ask: `wrk` in a closed loop with 32 connections and with
one, `h2load` in an open loop at 50 and 80 % of what FastAPI answered with 32. One row of 30 floats a request, the
ensemble of 100 trees. Then the closed loops again while a second version answers in the shadow, a segment is declared
and each prediction gets its label. The peer is `fastapi_peer` on uvicorn, which logs nothing. Rounds are interleaved;
before the peer's turn the installation has drained, summarised and measured everything. `CPU us a row` is the processor
time of each process of ours, until then, for each row that was answered; ratios pair runs of one round.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path
from typing import Any

import numpy as np

from tests.flows.installation.running import DATABASE, DRAIN, SERVER, SERVING, TASKS, Installation
from tests.performance.contenders import FEATURES, PATH, build_model, start_peer
from tests.performance.deploying import MODEL, declare_segment, deploy, set_shadows, upload, with_other_bytes
from tests.performance.outside_clients import Measured, Target, closed_loop, open_loop
from tests.performance.rounds import spread, text
from tests.ports import free_port
from tests.waiting import wait_until

ROLES = {
    SERVING: "serving", DRAIN: "drain", TASKS: "workers", "celery beat": "scheduler", DATABASE: "PostgreSQL",
    "postgres: ": "PostgreSQL", "valkey": "Valkey", SERVER: "web parent", "isolated.fork_server": "model processes",
}  # fmt: skip
SHARES = (0.5, 0.8)
LABELS_A_REQUEST = 5_000


# -- the installation --------------------------------------------------------------------------------------------------
@contextmanager
def installed(model: bytes) -> Iterator[Installation]:
    """Run everything with the model deployed, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="driftline-bench-") as folder:
        installation = Installation(Path(folder) / "home", free_port())
        installation.start()
        try:
            with closing(installation.api()) as api:
                deploy(api, model)
            yield installation
        finally:
            installation.end()


def rows_stored(installation: Installation) -> int:
    """Return how many rows are stored, copies of shadows aside."""
    chunks = "SELECT coalesce(sum(rows), 0) FROM inference_predictionchunk WHERE role <> 'shadow'"
    [(rows,)] = installation.query(chunks)
    return int(rows)


def wait_until_stored(installation: Installation, rows: int) -> None:
    wait_until(lambda: rows_stored(installation) >= rows, seconds=600, what="the drain")


def wait_until_calm(installation: Installation, rows: int) -> None:
    """Wait until so many rows are stored, and all of them are summarised and measured."""
    due = (
        "SELECT (SELECT count(*) FROM inference_touchedperiod) + (SELECT count(*) FROM monitors_stalewindow)"
    )
    wait_until_stored(installation, rows)
    wait_until(lambda: installation.query(due)[0][0] == 0, seconds=600, what="the metrics")


def label_since(installation: Installation, began: datetime) -> None:
    """Send a label for each prediction that was answered since then."""
    answered = "SELECT prediction_id FROM inference_predictionrow WHERE slot = 0 AND event_time >= %s"
    labels = [
        {"id": id_, "label": str(place % 2)}
        for place, (id_,) in enumerate(installation.query(answered, [began]))
    ]
    with closing(installation.api()) as api:
        for some in batched(labels, LABELS_A_REQUEST):
            api.post(f"/api/v1/models/{MODEL}/labels", {"labels": some})


def sum_by_role(installation: Installation, read: Callable[[int], float]) -> dict[str, float]:
    """Add up a number of each process, read by its id, by the role of the process."""
    totals: dict[str, float] = defaultdict(float)
    for process in installation.processes():
        role = next((name for mark, name in ROLES.items() if mark in process.command), "others")
        with suppress(OSError):  # the process has ended
            totals[role] += read(process.pid)
    return totals


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# -- rounds ------------------------------------------------------------------------------------------------------------
class Rounds:
    """Loads both servers in turn."""

    def __init__(self, installation: Installation, ours: Target, theirs: Target) -> None:
        self._installation, self._ours, self._theirs = installation, ours, theirs
        self._rows = 0
        self._is_labelled = False

    def watch_closely(self, model: bytes) -> None:
        """Give ours a shadow, a segment, and from now on a label for each prediction."""
        with closing(self._installation.api()) as api:
            upload(api, with_other_bytes(model))
            set_shadows(api, "2")
            declare_segment(api)
        self._is_labelled = True

    def ask(self, load: Callable[[Target], Measured]) -> dict[str, Any]:
        """Ask ours, wait until it has worked all of it off, and ask the peer."""
        before, began = sum_by_role(self._installation, cpu_seconds), datetime.now(UTC)
        mine = load(self._ours)
        self._rows += mine.requests - mine.failed
        if self._is_labelled:
            wait_until_stored(self._installation, self._rows)
            label_since(self._installation, began)
        wait_until_calm(self._installation, self._rows)
        spent = sum_by_role(self._installation, cpu_seconds)
        cpu = {role: (spent[role] - before.get(role, 0.0)) / mine.requests * 1e6 for role in spent}
        return {"ours": mine, "peer": load(self._theirs), "cpu_us": cpu}


def closed_rounds(both: Rounds, rounds: int, seconds: float) -> dict[int, list[dict[str, Any]]]:
    """Ask both in closed loops, again and again, by the number of connections."""
    closed: dict[int, list[dict[str, Any]]] = {32: [], 1: []}
    for _ in range(rounds):
        for connections, asked in closed.items():
            asked.append(both.ask(lambda target, n=connections: closed_loop(target, n, seconds)))
    return closed


def show(kind: str, title: str, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Print one setting, and give its numbers."""
    print(f"\n{title}")
    result: dict[str, Any] = {"kind": kind, "title": title}
    for name in ("ours", "peer"):
        runs: list[Measured] = [one[name] for one in rounds]
        numbers = {
            "requests_per_s": spread([run.rate for run in runs]),
            "p50_ms": spread([run.p50_ms for run in runs]),
            "p99_ms": spread([run.p99_ms for run in runs]),
            "max_ms": spread([run.max_ms for run in runs]),
            "failed": sum(run.failed for run in runs),
        }
        result[name] = numbers
        print(
            f"  {'Driftline' if name == 'ours' else 'FastAPI':10}{text(numbers['requests_per_s'], 0):>28} requests/s"
            f"   p50 {text(numbers['p50_ms'], 2)} ms   p99 {text(numbers['p99_ms'], 2)} ms"
            f"   longest {numbers['max_ms']['max']:.0f} ms   {numbers['failed']} failed"
        )
    ratios = {
        name: spread([getattr(one["ours"], name) / getattr(one["peer"], name) for one in rounds])
        for name in ("rate", "p50_ms", "p99_ms")
    }
    cpu = {
        role: statistics.median(one["cpu_us"].get(role, 0.0) for one in rounds)
        for role in rounds[-1]["cpu_us"]
    }
    result |= {"ratios": ratios, "cpu_us": cpu}
    print(
        f"  ours / FastAPI: requests/s {text(ratios['rate'], 2)}, p50 {text(ratios['p50_ms'], 2)}, "
        f"p99 {text(ratios['p99_ms'], 2)}"
    )
    outside = sum(cpu.values()) - cpu.get("serving", 0.0)
    parts = ", ".join(
        f"{role} {us:.0f}" for role, us in sorted(cpu.items(), key=lambda one: -one[1]) if us >= 0.5
    )
    print(f"  CPU us a row: {parts}; outside serving {outside:.0f}", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    model, rows = build_model()
    bodies = tuple(body_of(row) for row in rows[:64])
    results = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "model.onnx").write_bytes(model)
        peer = start_peer(stack, "fastapi", folder / "model.onnx")
        installation = stack.enter_context(installed(model))
        both = Rounds(
            installation,
            Target(installation.port, PATH, installation.token, bodies),
            Target(peer.port, PATH, "none", bodies),
        )
        both.ask(lambda target: closed_loop(target, 32, 3))  # warms both
        closed = closed_rounds(both, options.rounds, options.seconds)
        for connections, rounds in closed.items():
            results.append(show(f"closed {connections}", f"closed loop, {connections} connection(s)", rounds))
        capacity = statistics.median(one["peer"].rate for one in closed[32])
        for share in SHARES:
            rate = capacity * share
            rounds = [
                both.ask(lambda target, r=rate: open_loop(target, r, options.seconds))
                for _ in range(options.rounds)
            ]
            results.append(
                show("open", f"open loop, {rate:,.0f} requests/s, {share:.0%} of FastAPI's capacity", rounds)
            )
        both.watch_closely(model)
        for connections, rounds in closed_rounds(both, options.rounds, options.seconds).items():
            title = f"closed loop, {connections} connection(s), with a shadow, a segment and labels"
            results.append(show(f"watched {connections}", title, rounds))
        print(installation.check_invariants())
    if options.json:
        options.json.write_text(json.dumps({"installed": results}, indent=2))


def body_of(row: np.ndarray) -> str:
    data = [float(str(value)) for value in row]
    return json.dumps({"inputs": [{"name": "X", "shape": [1, FEATURES], "datatype": "FP32", "data": data}]})


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"{time.monotonic() - started:,.0f} s")
