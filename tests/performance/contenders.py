"""The servers that the serving benchmarks compare: one model, one set of questions, each on a free port."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingClassifier

from inference.serving.options import Fsync
from inference.serving.plan import NONE, Plan, PlanModel, PlanToken, PlanVersion, publish_plan
from inference.signatures import Feature, Signature, TensorSpec
from tests.performance.load_client import Question
from tests.ports import free_port

FEATURES = 30
TOKEN = "dl_bench"
PATH = "/v2/models/trees/infer"
ROWS = 512
ANSWER_SECONDS = 60.0
SERVE = """
import sys, pathlib
from inference.serving.options import EngineOptions
from inference.serving.main import serve_forever
home, port, workers, fsync = sys.argv[1:]
serve_forever(
    pathlib.Path(home), "127.0.0.1", int(port), workers=int(workers), options=EngineOptions(fsync=fsync)
)
"""
UNLOGGED = """
from inference.serving import worker
from tests.performance import unlogged_worker
worker.main = unlogged_worker.main
"""  # before SERVE: the same server without a log


@dataclass(frozen=True)
class Contender:
    """A server under test: the process `pid` with all its children."""

    name: str
    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """Add up the processor time of the server's processes; the kernel's work for the disk is not in it."""
        parents: dict[int, int] = {}
        ticks: dict[int, int] = {}
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            parents[int(entry.parent.name)] = int(fields[1])
            ticks[int(entry.parent.name)] = int(fields[11]) + int(fields[12])
        own = {self.pid}
        while more := {pid for pid, parent in parents.items() if parent in own and pid not in own}:
            own |= more
        return sum(ticks.get(pid, 0) for pid in own) / os.sysconf("SC_CLK_TCK")


# -- the model and what is asked of it ---------------------------------------------------------------------------------
def build_model() -> tuple[bytes, np.ndarray]:
    """Train a gradient-boosted ensemble of 100 trees of depth 6 on invented data; return it with rows to ask."""
    random = np.random.default_rng(20130101)
    rows = random.normal(size=(4000, FEATURES)).astype(np.float32)
    labels = (rows[:, 0] * rows[:, 1] + rows[:, 2] + random.normal(size=4000) > 0).astype(int)
    trees = GradientBoostingClassifier(n_estimators=100, max_depth=6, random_state=0).fit(rows, labels)
    model = to_onnx(trees, rows[:1], options={"zipmap": False}, target_opset={"": 17, "ai.onnx.ml": 3})
    return model.SerializeToString(), rows[:ROWS]


def write_questions(
    model: bytes, rows: np.ndarray, *, token: str = TOKEN, path: str = PATH
) -> list[Question]:
    """Write a request for each row, with the answer that ONNX Runtime gives to it alone."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    questions = []
    for place, row in enumerate(rows):
        label, probabilities = session.run(["label", "probabilities"], {"X": row[None]})
        tensor = {
            "name": "X",
            "shape": [1, FEATURES],
            "datatype": "FP32",
            "data": [float(str(v)) for v in row],
        }
        body = json.dumps({"id": str(place), "inputs": [tensor]}).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: bench\r\n"
            f"authorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        expected = {"label": label.tolist(), "probabilities": probabilities.ravel().tolist()}
        questions.append(Question(head.encode() + body, expected))
    return questions


def publish(home: Path, model: bytes, *, with_shadow: bool = False, isolation: str = NONE) -> None:
    """Deploy the model as the champion of a home of its own, and once more as its shadow."""
    digest = hashlib.sha256(model).hexdigest()
    home.mkdir(exist_ok=True)
    (home / "model.onnx").write_bytes(model)
    signature = Signature(
        features=[Feature(f"f{place}", "float") for place in range(FEATURES)],
        inputs=[TensorSpec("X", "FP32", [-1, FEATURES])],
        outputs=[TensorSpec("label", "INT64", [-1]), TensorSpec("probabilities", "FP32", [-1, 2])],
        prediction_output="label",
        probabilities_output="probabilities",
        classes=["0", "1"],
        positive_class="1",
        missing={},
        task="binary",
    )
    versions = [
        PlanVersion(place, str(place), digest, "model.onnx", signature, isolation=isolation)
        for place in (1, 2)
    ]
    token = PlanToken(hashlib.sha256(TOKEN.encode()).hexdigest(), "dl_b", 1, ["infer"], None)
    deployed = PlanModel(1, 1, "trees", 1, "1", ["2"] if with_shadow else [], versions)
    publish_plan(Plan(1, [deployed], [token]), home / "plan.json")


# -- the servers -------------------------------------------------------------------------------------------------------
@contextmanager
def running(
    command: Sequence[str],
    port: int,
    *,
    cores: set[int] | None = None,
    ready_path: str = "/v2/health/ready",
    **popen: Any,
) -> Iterator[int]:
    """Run a server until the block ends; wait until it answers. `cores` are those that it may use."""
    enter = None if cores is None else (lambda: os.sched_setaffinity(0, cores))
    process = subprocess.Popen(command, preexec_fn=enter, start_new_session=True, **popen)
    try:
        _wait_until_answering(port, process, ready_path)
        yield process.pid
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with suppress(ProcessLookupError):  # some peers leave processes of theirs behind
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_answering(port: int, process: subprocess.Popen[bytes], path: str) -> None:
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1).close()
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
            time.sleep(0.1)
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"No server answered on port {port}; it was started as {process.args!r}.")


def start_driftline(
    stack: ExitStack,
    home: Path,
    model: bytes,
    *,
    name: str = "driftline",
    workers: int = 1,
    fsync: Fsync = "interval",
    with_shadow: bool = False,
    with_log: bool = True,
    isolation: str = NONE,
    cores: set[int] | None = None,
) -> Contender:
    """Start ours, with its shipped defaults where nothing else is said."""
    publish(home, model, with_shadow=with_shadow, isolation=isolation)
    port = free_port()
    script = SERVE if with_log else UNLOGGED + SERVE
    command = [sys.executable, "-c", script, str(home), str(port), str(workers), fsync]
    return Contender(name, port, stack.enter_context(running(command, port, cores=cores)))


def start_peer(
    stack: ExitStack, name: str, model_path: Path, *, workers: int = 1, cores: set[int] | None = None
) -> Contender:
    """Start `fastapi` or `asgi` on uvicorn, which answers the same questions."""
    port = free_port()
    options = ["--workers", str(workers), "--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    options += ["--log-level", "warning", "--lifespan", "off"]
    app = f"tests.performance.peers.{name}_peer:app"
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), *options]
    environment = {**os.environ, "PEER_MODEL": str(model_path)}
    return Contender(name, port, stack.enter_context(running(command, port, cores=cores, env=environment)))
