"""Whether memory stays: `python -m tests.performance.memory_bench [--runs N] [--reloads N]`.

All of a serving process but its sockets, in a process of its own. One row after another is answered, each by a run
of its own, and after every sixteenth a batch of another of 64 sizes; meanwhile the champion is replaced so many times,
each time by another model. Prints the resident memory after the warm-up and at the end, and what was done.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from msgspec import Struct

from inference.prediction_log.spool.segments import open_spools
from inference.protocol.v2.open_inference import OPEN_INFERENCE
from inference.serving.callers import InferenceCaller
from inference.serving.engine.engine import Engine
from inference.serving.engine.inbound import Inbound
from inference.serving.options import EngineOptions
from inference.serving.plan import PlanModel
from inference.serving.plan_watcher import PlanWatcher
from inference.serving.refusals import Refusal
from inference.serving.responses import Prediction
from inference.serving.status.status import StatusFile
from tests.inference.onnx_models import classifier_signature, constant_classifier, store
from tests.inference.serving.running import publish, rows_body, token

COINS = b"/v2/models/coins/infer"
BEARER = InferenceCaller(b"Bearer dl_infer")
SIZES = 64
SINGLES = 16  # rows asked alone between two batches
UPKEEP_EVERY = 2_000  # runs; about as often as the event loop of a busy process comes to it
WARM_SHARE = 50
LOAD_SECONDS = 30.0


class Memory(Struct, frozen=True):
    """Resident MiB, and what was done meanwhile."""

    warm: float
    end: float
    single_row_runs: int  # as the process itself counts them
    batch_sizes: int
    champions: int  # that gave an answer of their own

    def describe(self) -> str:
        """Write it as a sentence."""
        return (
            f"{self.warm:.1f} MiB after the warm-up and {self.end:.1f} MiB ({self.end / self.warm - 1:+.1%}) after "
            f"{self.single_row_runs:,} single-row runs, {self.batch_sizes} batch sizes and {self.champions} reloads"
        )


class Process:
    """What a serving process consists of, asked in its own event loop."""

    def __init__(self, home: Path) -> None:
        loop = asyncio.get_running_loop()
        self._home = home
        self._watcher = PlanWatcher(home, lambda table: loop.call_soon_threadsafe(self._engine.adopt, table))
        self._engine = Engine(home, EngineOptions(fsync="off"), self._watcher.request)
        self._status = StatusFile(home, self._engine)
        self._asked = 0
        self._sizes: set[int] = set()
        self._bodies = [rows_body(*[[1, 2, 3]] * rows) for rows in range(1, SIZES + 1)]

    async def start(self) -> None:
        self._watcher.start()
        await asyncio.sleep(0)

    def stop(self) -> None:
        self._watcher.stop()
        self._engine.close()

    async def ask(self, rows: int) -> Prediction[Any]:
        """Ask for so many rows alone, and wait for the answer."""
        answered: asyncio.Future[Prediction[Any] | Refusal] = asyncio.get_running_loop().create_future()
        body = self._bodies[rows - 1]
        admission = self._engine.admit(OPEN_INFERENCE, BEARER, COINS)
        inbound = Inbound(OPEN_INFERENCE, BEARER, COINS, body, {})
        self._engine.submit(admission, inbound, answered.set_result)
        answer = await answered
        assert isinstance(answer, Prediction), answer
        return answer

    async def run(self, runs: int) -> None:
        """Ask for single rows, each answered by a run of its own, and for batches now and then."""
        for number in range(runs):
            await self.ask(1)
            if number % SINGLES == 0:
                rows = number // SINGLES % SIZES + 1
                self._sizes.add(rows)
                await self.ask(rows)
            if number % UPKEEP_EVERY == 0:
                self._keep_up()

    def _keep_up(self) -> None:
        """Do what the process does every second, and what the drain does with what is spooled."""
        self._status.write_if_due(time.monotonic())
        for reader in open_spools(self._home):
            if segments := reader.segments():
                reader.discard_before(segments[-1])

    async def champion(self, generation: int) -> str:
        """Wait until this generation is live, and give the version that answers with its own probability."""
        async with asyncio.timeout(LOAD_SECONDS):
            while self._engine.table.generation != generation:
                await asyncio.sleep(0.001)
        answer = await self.ask(1)
        outputs = msgspec.json.decode(answer.content.content)["outputs"]
        [[_, probability]] = [output["data"] for output in outputs if output["name"] == "probabilities"]
        assert abs(probability - probability_of(generation)) < 1e-6
        return answer.route.version.plan.version

    def single_row_runs(self) -> int:
        """Count the runs of one row that the process itself has counted."""
        series = self._engine.metrics.snapshot()["series"].values()
        return sum(counts["batch_rows"]["counts"][0] for counts in series)

    @property
    def batch_sizes(self) -> int:
        return len(self._sizes)


def probability_of(generation: int) -> float:
    return 0.25 + generation / 10_000


def deploy(home: Path, generation: int) -> None:
    """Make a version of its own the champion, with its own bytes."""
    model = constant_classifier(probability_of(generation), 3)
    version = store(home, model, classifier_signature(3), id=generation, version=str(generation))
    deployed = PlanModel(1, 1, "coins", generation, version.version, [], [version])
    publish(home, [deployed], [token("dl_infer")], generation)


def resident_mib() -> float:
    """Read this process's memory from the kernel."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def measure_here(home: Path, runs: int, reloads: int) -> Memory:
    """Measure this process, whose imports and other work then count as well."""
    deploy(home, 1)
    process = Process(home)
    await process.start()
    try:
        await process.run(max(runs // WARM_SHARE, SINGLES * SIZES))
        warm, before = resident_mib(), process.single_row_runs()
        champions = set()
        for generation in range(2, reloads + 2):
            deploy(home, generation)
            await process.run(runs // reloads)  # it is loaded meanwhile
            champions.add(await process.champion(generation))
        counted = process.single_row_runs() - before
        return Memory(warm, resident_mib(), counted, process.batch_sizes, len(champions))
    finally:
        process.stop()


def measure(home: Path, runs: int, reloads: int) -> Memory:
    """Measure in a process of its own, which holds nothing else."""
    command = [sys.executable, "-m", "tests.performance.memory_bench", "--home", str(home)]
    command += ["--runs", str(runs), "--reloads", str(reloads)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return msgspec.json.decode(result.stdout, type=Memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--reloads", type=int, default=200)
    parser.add_argument("--home", type=Path, help="work here, and print the numbers as JSON")
    options = parser.parse_args()
    if options.home is not None:
        found = uvloop.run(measure_here(options.home, options.runs, options.reloads))
        print(msgspec.json.encode(found).decode())
        return
    with tempfile.TemporaryDirectory() as folder:
        print(measure(Path(folder), options.runs, options.reloads).describe())


if __name__ == "__main__":
    main()
