"""The hot path beside two peers: `python -m tests.performance.serving_bench [--json PATH]`.

All answer the same V2 bytes with the same tree ensemble: 30 floats, one row a request. Ours checks a token, counts
and brings every prediction to the disk before it answers; the peers do none of that. Rounds are interleaved, so
that noise falls on all alike; ratios pair runs of one round.
"""

import argparse
import hashlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingClassifier

from inference.serving.plan import (
    Feature,
    Plan,
    PlanModel,
    PlanToken,
    PlanVersion,
    Signature,
    TensorSpec,
    publish_plan,
)
from tests.performance.load_client import Load, Question, run_load

FEATURES = 30
TOKEN = "dl_bench"
ROWS = 512


@dataclass(frozen=True)
class Contender:
    """A server under test."""

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


def build_model() -> tuple[bytes, np.ndarray]:
    """Train a gradient-boosted ensemble of 100 trees of depth 6 on invented data; return it with rows to ask."""
    random = np.random.default_rng(20130101)
    rows = random.normal(size=(4000, FEATURES)).astype(np.float32)
    labels = (rows[:, 0] * rows[:, 1] + rows[:, 2] + random.normal(size=4000) > 0).astype(int)
    trees = GradientBoostingClassifier(n_estimators=100, max_depth=6, random_state=0).fit(rows, labels)
    model = to_onnx(trees, rows[:1], options={"zipmap": False}, target_opset={"": 17, "ai.onnx.ml": 3})
    return model.SerializeToString(), rows[:ROWS]


def write_questions(model: bytes, rows: np.ndarray) -> list[Question]:
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
            "POST /v2/models/trees/infer HTTP/1.1\r\nhost: bench\r\n"
            f"authorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        expected = {"label": label.tolist(), "probabilities": probabilities.ravel().tolist()}
        questions.append(Question(head.encode() + body, expected))
    return questions


def publish(home: Path, model: bytes) -> None:
    """Deploy the model as the champion of a home of its own."""
    digest = hashlib.sha256(model).hexdigest()
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
    version = PlanVersion(1, "1", digest, "model.onnx", signature)
    token = PlanToken(hashlib.sha256(TOKEN.encode()).hexdigest(), "dl_b", 1, ["infer"], None)
    deployed = PlanModel(1, 1, "trees", 1, "1", [], [version])
    publish_plan(Plan(1, [deployed], [token]), home / "plan.json")


@contextmanager
def running(command: list[str], port: int, **environment: str) -> Iterator[int]:
    """Run a server until the block ends; wait until it answers."""
    process = subprocess.Popen(command, env={**os.environ, **environment})
    try:
        _wait_until_answering(port, process)
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


def _wait_until_answering(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=1).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"No server answered on port {port}.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_contenders(stack: ExitStack, home: Path, model: bytes, workers: int) -> list[Contender]:
    """Start ours with its shipped defaults, and the peers with as many workers."""
    publish(home, model)
    ports = {name: _free_port() for name in ("driftline", "fastapi", "asgi")}
    serve = (
        "import sys, pathlib; from inference.serving.main import serve_forever; "
        "serve_forever(pathlib.Path(sys.argv[1]), '127.0.0.1', int(sys.argv[2]), workers=int(sys.argv[3]))"
    )
    ours = [sys.executable, "-c", serve, str(home), str(ports["driftline"]), str(workers)]
    contenders = [
        Contender("driftline", ports["driftline"], stack.enter_context(running(ours, ports["driftline"])))
    ]
    for name in ("fastapi", "asgi"):
        peer = f"tests.performance.peers.{name}_peer:app"
        options = ["--workers", str(workers), "--loop", "uvloop", "--http", "httptools", "--no-access-log"]
        options += ["--log-level", "warning", "--lifespan", "off"]
        command = [sys.executable, "-m", "uvicorn", peer, "--port", str(ports[name]), *options]
        pid = stack.enter_context(running(command, ports[name], PEER_MODEL=str(home / "model.onnx")))
        contenders.append(Contender(name, ports[name], pid))
    return contenders


def measure(
    contenders: list[Contender], questions: list[Question], connections: int, rounds: int, seconds: float
) -> dict[str, list[Load]]:
    """Load each contender in turn, round after round, after one round that only warms."""
    loads: dict[str, list[Load]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders:
            cpu = contender.cpu_seconds()
            load = run_load(contender.port, questions, connections, seconds if number else 0.5)
            load.server_cpu_s = contender.cpu_seconds() - cpu
            if number:
                loads[contender.name].append(load)
    return loads


def summarise(loads: dict[str, list[Load]], workers: int, connections: int) -> dict[str, Any]:
    """Give medians with spreads, and ours as a ratio to each peer within a round."""
    summary: dict[str, Any] = {"workers": workers, "connections": connections, "contenders": {}, "ratios": {}}
    for name, runs in loads.items():
        rates = [run.rate for run in runs]
        summary["contenders"][name] = {
            "requests_per_s": _spread(rates),
            "p50_ms": _spread([run.quantile_ms(0.50) for run in runs]),
            "p99_ms": _spread([run.quantile_ms(0.99) for run in runs]),
            "server_cpu_us": _spread([run.server_cpu_us for run in runs]),
            "answers": sum(len(run.latencies_s) for run in runs),
            "answers_checked": sum(run.checked for run in runs),
        }
    ours = loads["driftline"]
    for name, runs in loads.items():
        if name != "driftline":
            summary["ratios"][name] = {
                "requests_per_s": _spread([a.rate / b.rate for a, b in zip(ours, runs, strict=True)]),
                "server_cpu": _spread(
                    [b.server_cpu_us / a.server_cpu_us for a, b in zip(ours, runs, strict=True)]
                ),
                "p50": _spread(
                    [a.quantile_ms(0.5) / b.quantile_ms(0.5) for a, b in zip(ours, runs, strict=True)]
                ),
            }
    return summary


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def show(summary: dict[str, Any]) -> None:
    """Print one setting as a table."""
    print(f"\nsingle-row V2 JSON, {summary['workers']} worker(s), {summary['connections']} connection(s)")
    print(
        f"{'server':12}{'requests/s':>28}{'p50 ms':>24}{'p99 ms':>24}{'CPU us':>8}{'ours x':>8}{'checked':>9}"
    )
    for name, row in summary["contenders"].items():
        ratio = summary["ratios"].get(name, {}).get("requests_per_s", {}).get("median", 1.0)
        print(
            f"{name:12}{_show(row['requests_per_s'], 0):>28}{_show(row['p50_ms'], 2):>24}"
            f"{_show(row['p99_ms'], 2):>24}{row['server_cpu_us']['median']:>8.0f}{ratio:>8.2f}"
            f"{row['answers_checked']:>9}"
        )


def _show(spread: dict[str, float], digits: int) -> str:
    return f"{spread['median']:,.{digits}f} [{spread['min']:,.{digits}f}-{spread['max']:,.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--connections", type=int, nargs="*", default=[32, 1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    options = parser.parse_args()
    model, rows = build_model()
    questions = write_questions(model, rows)
    results = []
    for workers in options.workers:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            contenders = start_contenders(stack, Path(folder), model, workers)
            for connections in options.connections:
                loads = measure(contenders, questions, connections, options.rounds, options.seconds)
                results.append(summarise(loads, workers, connections))
                show(results[-1])
    if options.json:
        options.json.write_text(json.dumps({"serving": results}, indent=2))


if __name__ == "__main__":
    main()
