"""Latency at arrivals that do not wait for answers: `python -m tests.performance.arrivals_bench [--json PATH]`.

A whole installation (PostgreSQL, Valkey, one `manage.py serve`) is asked at 50% and 80% of its measured capacity in
five states: quiet; with a shadow of the champion's cost; during promotions and rollbacks one after another; with the
database stopped; and while the drain stores the backlog that all of these have left. In the first three the drain is
paused, so that each state differs from quiet in one thing alone. FastAPI and raw ASGI are asked at the same arrivals,
and at 50% and 80% of what FastAPI can take, for at more than that it only falls behind.

Coordinated omission is avoided: requests leave by a schedule of Poisson arrivals on 64 keep-alive connections, and a
latency counts from the scheduled moment, whether or not the client could send then (`load_client.run_arrivals`).
`slip` is the client's own lag and `client core` its share of a core: where they are large, read the row with care.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from driftline.demo.api_client import Api
from inference.prediction_log.spool.segments import spooled_bytes
from tests.performance.contenders import Contender, build_model, start_peer, write_questions
from tests.performance.deploying import MODEL, deploy, set_shadows, with_other_bytes
from tests.performance.installation import Installed, installation
from tests.performance.load_client import Load, Question, poisson_arrivals, run_arrivals, run_load
from tests.performance.rounds import spread, with_server_cpu
from tests.performance.shadow_counts import NOTHING, read_shadow_counts

SHARES = (0.5, 0.8)
CONNECTIONS = 64
CAPACITY_CONNECTIONS = 32
QUIET = "quiet"


@dataclass(frozen=True)
class Case:
    """One row: a server, in a state, at a share of the capacity of the server `of`."""

    server: str
    state: str
    share: float
    of: str


class Ours:
    """The installation, its model in two versions, and the states it can be brought into."""

    def __init__(self, installed: Installed, model: bytes) -> None:
        self.installed = installed
        self.contender = Contender("driftline", installed.port, installed.server_pid)
        self.swaps = 0
        self.shadow_counts = NOTHING  # while there was a shadow
        with self._api() as api:
            deploy(api, model, with_other_bytes(model))
        self._drain = _find_child(installed.server_pid, "drain_spool")
        os.kill(self._drain, signal.SIGSTOP)

    def _api(self) -> "closing[Api]":
        return closing(Api("127.0.0.1", self.installed.port, self.installed.token))

    def backlog_bytes(self) -> int:
        return spooled_bytes(self.installed.paths.home)

    # States

    @contextmanager
    def quiet(self) -> Iterator[None]:
        yield

    @contextmanager
    def shadow_on(self) -> Iterator[None]:
        before = read_shadow_counts(self.installed.paths.home)
        with self._api() as api:
            set_shadows(api, "2")
        yield
        self.shadow_counts += read_shadow_counts(self.installed.paths.home) - before
        with self._api() as api:
            set_shadows(api)

    @contextmanager
    def swaps_going_on(self) -> Iterator[None]:
        command = [sys.executable, "-m", "tests.performance.swaps", str(self.installed.port)]
        process = subprocess.Popen([*command, self.installed.token, MODEL], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "under way\n"
        yield
        process.terminate()
        self.swaps += int(process.communicate(timeout=60)[0])

    @contextmanager
    def database_down(self) -> Iterator[None]:
        self.installed.database.stop()
        os.kill(self._drain, signal.SIGCONT)  # it asks for the database again and again
        yield
        os.kill(self._drain, signal.SIGSTOP)
        self.installed.database.start()
        self.installed.database.wait_ready()

    @contextmanager
    def log_draining(self) -> Iterator[None]:
        os.kill(self._drain, signal.SIGCONT)
        yield
        os.kill(self._drain, signal.SIGSTOP)

    def states(self) -> dict[str, Callable[[], Any]]:
        """Name the states in the order in which a round goes through them."""
        return {
            QUIET: self.quiet,
            "shadow on": self.shadow_on,
            "swaps": self.swaps_going_on,
            "database down": self.database_down,
            "log draining": self.log_draining,
        }

    def prepare_to_stop(self) -> None:
        """Let the drain end at once when it is told to, whatever is left of the backlog."""
        self.installed.database.stop()
        os.kill(self._drain, signal.SIGCONT)


def _find_child(parent: int, command: str) -> int:
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if command in Path(f"/proc/{pid}/cmdline").read_text():
            return int(pid)
    raise RuntimeError(f"process {parent} has no child that runs {command}")


# -- measuring ---------------------------------------------------------------------------------------------------------
class Arrivals:
    """Measures every case, round after round."""

    def __init__(self, ours: Ours, peers: list[Contender], questions: list[Question], seconds: float) -> None:
        self.loads: dict[Case, list[Load]] = {}
        self.backlog_bytes: list[
            tuple[int, int]
        ] = []  # before and after each time that the drain was at work
        self._ours = ours
        self._peers = peers
        self._questions = questions
        self._seconds = seconds
        self.capacities = {
            contender.name: self._capacity(contender) for contender in (ours.contender, *peers)
        }

    def _capacity(self, contender: Contender) -> float:
        """Give the median rate of a closed loop."""
        rates = [
            run_load(contender.port, self._questions, CAPACITY_CONNECTIONS, self._seconds).rate
            for _ in range(4)
        ]
        return statistics.median(rates[1:])

    def run_round(self, number: int) -> None:
        for state, enter in self._ours.states().items():
            with enter():
                before = self._ours.backlog_bytes()
                for share in SHARES:
                    self._run(self._ours.contender, Case("driftline", state, share, "driftline"), number)
                if state == "log draining":
                    self.backlog_bytes.append((before, self._ours.backlog_bytes()))
        for share in SHARES:
            for peer in self._peers:
                self._run(peer, Case(peer.name, QUIET, share, "driftline"), number)
        for share in SHARES:
            for contender in (self._ours.contender, *self._peers):
                self._run(contender, Case(contender.name, QUIET, share, "fastapi"), number)

    def _run(self, contender: Contender, case: Case, number: int) -> None:
        rate = case.share * self.capacities[case.of]
        arrivals = poisson_arrivals(rate, self._seconds, seed=number)
        load = with_server_cpu(
            contender,
            lambda: run_arrivals(contender.port, self._questions, arrivals, connections=CONNECTIONS),
        )
        self.loads.setdefault(case, []).append(load)


def summarise(measured: Arrivals) -> list[dict[str, Any]]:
    """Describe each case; `p99_to_quiet` and `p99_to_ours` pair runs of one round."""
    rows = []
    for case, runs in measured.loads.items():
        ours = measured.loads[Case("driftline", QUIET, case.share, case.of)]
        to_ours = [run.quantile_ms(0.99) / own.quantile_ms(0.99) for run, own in zip(runs, ours, strict=True)]
        together = np.concatenate([run.latencies_s for run in runs])
        rows.append(
            {
                **msgspec.to_builtins(case),
                "arrivals_per_s": case.share * measured.capacities[case.of],
                "answered_per_s": spread([run.rate for run in runs]),
                "p50_ms": spread([run.quantile_ms(0.50) for run in runs]),
                "p99_ms": spread([run.quantile_ms(0.99) for run in runs]),
                "p999_ms": float(np.quantile(together, 0.999)) * 1000,  # of all rounds: one has too few
                "p99_to_quiet" if case.server == "driftline" else "p99_to_ours": spread(to_ours),
                "server_cpu_us": spread([run.server_cpu_us for run in runs]),
                "slip_p99_ms": spread([run.slip_ms(0.99) for run in runs]),
                "client_cores": spread([run.client_cores for run in runs]),
                "unanswered": sum(run.unanswered for run in runs),
                "refused": sum(run.refused for run in runs),
                "answers_checked": sum(run.checked for run in runs),
            }
        )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    print(
        f"\nopen loop: Poisson arrivals on {CONNECTIONS} connections, latency from the scheduled moment, one worker; "
        "medians of rounds, p99.9 of all rounds together"
    )
    print(
        f"{'server':11}{'state':15}{'arrivals/s':>24}{'p50 ms':>9}{'p99 ms':>9}{'p99.9 ms':>10}{'p99 x quiet':>13}"
        f"{'p99 x ours':>12}{'slip p99':>10}{'client core':>12}{'server us':>10}  not answered, refused"
    )
    for row in rows:
        arrivals = f"{row['arrivals_per_s']:,.0f} ({row['share']:.0%} {row['of']})"
        quiet, ours = (
            f"{row[key]['median']:.2f}" if key in row else "" for key in ("p99_to_quiet", "p99_to_ours")
        )
        print(
            f"{row['server']:11}{row['state']:15}{arrivals:>24}{row['p50_ms']['median']:>9.2f}"
            f"{row['p99_ms']['median']:>9.2f}{row['p999_ms']:>10.2f}{quiet:>13}{ours:>12}"
            f"{row['slip_p99_ms']['median']:>10.2f}{row['client_cores']['median']:>12.2f}"
            f"{row['server_cpu_us']['median']:>10.0f}  {row['unanswered'] or ''} {row['refused'] or ''}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    model, rows = build_model()
    with (
        tempfile.TemporaryDirectory() as folder,
        installation(Path(folder)) as installed,
        ExitStack() as stack,
    ):
        path = Path(folder) / "peer.onnx"
        path.write_bytes(model)
        peers = [start_peer(stack, name, path) for name in ("fastapi", "asgi")]
        ours = Ours(installed, model)
        stack.callback(ours.prepare_to_stop)
        questions = write_questions(model, rows, token=installed.token)
        measured = Arrivals(ours, peers, questions, options.seconds)
        for number in range(options.rounds):
            measured.run_round(number)
    result = {
        "capacity_per_s": measured.capacities,
        "connections": CONNECTIONS,
        "rows": summarise(measured),
        "swaps": ours.swaps,
        "shadow_counts": msgspec.to_builtins(ours.shadow_counts),
        "backlog_bytes": measured.backlog_bytes,
    }
    show(result["rows"])
    drained = ", ".join(
        f"{before / 1e6:.1f} to {after / 1e6:.1f}" for before, after in measured.backlog_bytes
    )
    print(
        f"{ours.swaps} promotions and rollbacks while it was swapped; spooled MB while it was drained: {drained}"
    )
    if options.json:
        options.json.write_text(json.dumps({"arrivals": result}, indent=2))


if __name__ == "__main__":
    main()
