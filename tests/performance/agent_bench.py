"""What the agent on a device costs: `python -m tests.performance.agent_bench [--requests N] [--rounds N]`.

An ensemble of 100 trees over 30 numbers, one row a request, one connection. Prints the resident memory of the agent
beside a process that runs the same model by ONNX Runtime alone, where rows are sent whole and where all of them are
added up by the hour, and the median times of a bare run, of the agent's own
code, and of the agent over HTTP with each row on the disk before its answer. There is no server: rows wait.
"""

import argparse
import hashlib
import http.client
import itertools
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from msgspec import Struct

from driftline_agent.agent import Options
from driftline_agent.rows.row_store import RowStore
from driftline_agent.rows.window_store import WindowStore
from driftline_agent.server.device_clock import DeviceClock
from driftline_agent.server.manifest import SignedManifest
from driftline_agent.serving import Dataplane
from driftline_agent.versions import VersionStore
from inference.signatures import Signature
from tests.driftline_agent.device import PlayedDevice, enrol_in, signed
from tests.driftline_agent.processes import AgentProcess
from tests.inference.onnx_models import classifier_signature
from tests.performance.contenders import build_model
from tests.waiting import wait_until

PATH = "/v2/models/fuel/infer"
DIFFERENT_ROWS = 500
BARE = """
import sys, time
import numpy as np
import onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
row = np.load(sys.argv[2])
name = session.get_inputs()[0].name
times = []
for _ in range(int(sys.argv[3])):
    began = time.perf_counter()
    session.run(None, {name: row})
    times.append(time.perf_counter() - began)
print(sorted(times)[len(times) // 2], flush=True)
sys.stdin.read()
"""


class Cost(Struct, frozen=True):
    """Resident MiB of both processes, and the median times of one row in microseconds."""

    bare_mib: float
    agent_mib: float
    summing_mib: float
    bare_us: float
    own_code_us: float
    http_us: float

    def describe(self) -> str:
        """Write it as a sentence."""
        return (
            f"{self.agent_mib:.0f} MiB beside {self.bare_mib:.0f} MiB of ONNX Runtime alone "
            f"(+{self.agent_mib - self.bare_mib:.0f}), {self.summing_mib:.0f} MiB where rows are added up "
            f"(+{self.summing_mib - self.bare_mib:.0f}); p50 over HTTP with the row on the disk {self.http_us:.0f} us, "
            f"without socket and disk {self.own_code_us:.0f} us, a bare run {self.bare_us:.0f} us"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    costs = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            costs.append(measure(Path(folder), options.requests))
        print(f"round {number + 1}: {costs[-1].describe()}", flush=True)
    medians = {
        name: statistics.median(getattr(cost, name) for cost in costs) for name in Cost.__struct_fields__
    }
    print(f"median: {Cost(**medians).describe()}")


def measure(folder: Path, requests: int) -> Cost:
    """Measure the bare process, the agent's own code, and the agent as a process."""
    model, rows = build_model()
    signature = classifier_signature(rows.shape[1])
    row = rows[:1].astype(np.float32)
    bodies = [body_of(one) for one in rows[:DIFFERENT_ROWS].astype(np.float32)]
    bare_us, bare_mib = run_bare(folder, model, row, requests)
    own_code_us = time_own_code(folder / "own", model, signature, bodies[0].encode(), requests)
    whole = make_home(folder / "agent", model, signed(model, "1", signature=signature))
    http_us, agent_mib = run_agent(whole, bodies, requests)
    summing = make_home(folder / "summing", model, signed(model, "1", signature=signature, sampling=0.0))
    prepare_sums(summing, signature)
    _, summing_mib = run_agent(summing, bodies, requests)
    return Cost(bare_mib, agent_mib, summing_mib, bare_us, own_code_us, http_us)


def body_of(row: np.ndarray) -> str:
    """Write a request for a row."""
    tensor = {"name": "X", "shape": [1, len(row)], "datatype": "FP32", "data": row.tolist()}
    return json.dumps({"inputs": [tensor]})


def make_home(home: Path, model: bytes, manifest: SignedManifest) -> Path:
    """Make the home of a device that has a version."""
    home.mkdir()
    enrol_in(home)
    versions = VersionStore(home)
    (versions.folder / f"{hashlib.sha256(model).hexdigest()}.onnx").write_bytes(model)
    versions.renew(manifest, 1)
    return home


def prepare_sums(home: Path, signature: Signature) -> None:
    """Leave what a server would have said before the network went: its time, and how rows are added up."""
    clock = DeviceClock()
    rows = RowStore(home / "rows.db", max_bytes=Options.max_row_bytes, clock=clock, first_sequence=None)
    clock.observe(clock.wall_ms(), sent_ms=clock.running_ms(), received_ms=clock.running_ms())
    rows.note_clock()
    layout = {
        "features": [
            {"name": feature.name, "is_number": True, "centre": 0.0} for feature in signature.features
        ],
        "prediction_centre": None,
        "task": "binary",
        "positive_class": signature.positive_class,
        "segment_features": [],
        "missing": [],
    }
    WindowStore(rows, "truck").store_layout("1", json.dumps(layout))
    rows.close()


def has_added_rows(home: Path) -> bool:
    """Return whether an agent has added up all its rows that are not sent whole."""
    db = sqlite3.connect(home / "rows.db")
    try:
        return db.execute("SELECT 1 FROM rows WHERE NOT is_whole LIMIT 1").fetchone() is None
    finally:
        db.close()


def run_bare(folder: Path, model: bytes, row: np.ndarray, requests: int) -> tuple[float, float]:
    """Return the median of a run in microseconds, and the process's resident MiB after all of them."""
    (folder / "model.onnx").write_bytes(model)
    np.save(folder / "row.npy", row)
    command = [sys.executable, "-c", BARE, str(folder / "model.onnx"), str(folder / "row.npy"), str(requests)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    median = float(process.stdout.readline()) * 1e6
    memory = resident_mib(process.pid)
    process.communicate()
    return median, memory


def time_own_code(home: Path, model: bytes, signature: Signature, body: bytes, requests: int) -> float:
    """Return the median of what the agent does beside sockets and the disk."""
    home.mkdir()
    device = PlayedDevice(home)
    device.server.offer(model, "1", signature=signature)
    device.updater.poll()
    rows = RowStore(home / "rows.db", max_bytes=Options.max_row_bytes, clock=DeviceClock(), first_sequence=1)
    rows.db.execute("PRAGMA synchronous = OFF")
    dataplane = Dataplane(device.in_use, rows, "truck")
    times = timed(lambda: dataplane.write(PATH, body), requests)
    rows.close()
    return times


def run_agent(home: Path, bodies: list[str], requests: int) -> tuple[float, float]:
    """Return the median of a request in microseconds, and the agent's resident MiB after all of them."""
    agent = AgentProcess(home, "agent")
    agent.start()
    try:
        agent.wait_for("1")
        connection = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=30)

        turns = itertools.cycle(bodies)

        def ask() -> None:
            connection.request("POST", PATH, next(turns))
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == 200, content

        median = timed(ask, requests)
        connection.close()
        wait_until(lambda: has_added_rows(home), what="all rows are added up")
        assert agent.process is not None
        return median, resident_mib(agent.process.pid)
    finally:
        agent.stop()


def timed(do: Callable[[], object], times: int) -> float:
    """Return the median in microseconds, without the first tenth."""
    measured = []
    for _ in range(times):
        began = time.perf_counter()
        do()
        measured.append(time.perf_counter() - began)
    return statistics.median(measured[times // 10 :]) * 1e6


def resident_mib(pid: int) -> float:
    """Read how much memory of its own and shared a process has."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} has no memory")


if __name__ == "__main__":
    main()
