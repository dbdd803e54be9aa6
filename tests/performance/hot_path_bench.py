"""What the hot path costs without sockets and disk: `python -m tests.performance.hot_path_bench`.

Feeds the bytes of 16 requests to 16 connections, lets the engine run them as one batch, and ends its sync. Prints the
microseconds a request of each step, at the 2nd, 10th and 50th percentile of all batches: beside other work the lowest
says what the code takes, and the others what the machine adds.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
import uvloop
from uvicorn.server import ServerState

from driftline.base.keys.home_keys import key_of_home
from inference.serving.engine import journal
from inference.serving.engine.engine import Engine
from inference.serving.http.connection import HotProtocol
from inference.serving.options import EngineOptions
from inference.serving.plan import load_plan
from inference.serving.routing import RoutingTable
from inference.serving.tracing.options import TraceOptions
from inference.serving.versions.versions import LoadedVersion
from tests.inference.serving.running import HeldDisk
from tests.performance.contenders import build_model, publish, write_questions

BATCH = 16  # about what comes together at 32 connections
SHARES = (0.02, 0.1, 0.5)
STEPS = ("arrival", "run", "answers")


class Wire(asyncio.Transport):
    """Counts what is written."""

    answers = 0

    def write(self, data: Any) -> None:
        assert data.startswith(b"HTTP/1.1 200"), data
        self.answers += 1

    def is_closing(self) -> bool:
        return False


def make_engine(home: Path, disk: HeldDisk, options: EngineOptions) -> Engine:
    """Make an engine with a disk that is never waited for."""
    plan = load_plan(home / "plan.json")
    [model] = plan.models
    loaded = {version.id: LoadedVersion(home, model, version) for version in model.versions[:1]}
    journal.open_disk_sync = lambda: disk
    engine = Engine(home, options, lambda *_: None)
    engine.adopt(RoutingTable(plan, loaded, {}))
    return engine


def connect(engine: Engine) -> list[HotProtocol]:
    """Open two connections for each place in a batch, which take turns."""
    bound = HotProtocol.bind(engine)
    config = uvicorn.Config(lambda: None, http=bound, ws="none", lifespan="off", log_level="critical")
    config.load()
    connections = [bound(config=config, server_state=ServerState(), app_state={}) for _ in range(2 * BATCH)]
    for connection in connections:
        connection.connection_made(Wire())
    return connections


async def measure(home: Path, requests: list[bytes], batches: int, options: EngineOptions) -> np.ndarray:
    """Return the microseconds a request of each step, batch by batch."""
    disk = HeldDisk()
    engine = make_engine(home, disk, options)
    connections = connect(engine)
    taken = np.zeros((batches, len(STEPS)))
    for number in range(batches):
        half = connections[number % 2 * BATCH :][:BATCH]
        began = time.perf_counter()
        for place, connection in enumerate(half):
            connection.data_received(requests[(number * 7 + place * 13) % len(requests)])
        arrived = time.perf_counter()
        await asyncio.sleep(0)
        ran = time.perf_counter()
        disk.finish()
        taken[number] = np.diff([began, arrived, ran, time.perf_counter()]) * 1e6 / BATCH
    assert sum(connection.transport.answers for connection in connections) == batches * BATCH  # type: ignore[attr-defined]
    engine.close()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=5000)
    parser.add_argument("--sealed", action="store_true", help="as with DRIFTLINE_ENCRYPT_LOG=1")
    parser.add_argument(
        "--traced", type=float, help="share of requests with a span; tracing is off without it"
    )
    options = parser.parse_args()
    model, rows = build_model()
    requests = [question.payload for question in write_questions(model, rows)]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        publish(home, model)
        key_of_home(home, "log_key")
        # nobody listens at the traces' port
        traces = None if options.traced is None else TraceOptions("http://127.0.0.1:9", options.traced)
        shipped = EngineOptions(seals=options.sealed, traces=traces)
        taken = uvloop.run(measure(home, requests, options.batches, shipped))
    for share in SHARES:
        steps = np.quantile(taken, share, axis=0)
        told = ", ".join(f"{step} {value:.1f}" for step, value in zip(STEPS, steps, strict=True))
        print(f"p{share * 100:.0f}: {steps.sum():5.1f} us a request ({told})")


if __name__ == "__main__":
    main()
