"""A training on a cluster, with less memory than the snapshot takes: `python -m tests.performance.cluster_bench`.

A run of a real installation hands ten million generated rows to docs/guides/cluster_training.py on Dask, by way of an
S3 server (moto), and takes its ONNX. The snapshot is written as the step `snapshot` stores one, from generated batches
instead of the log; the steps before `train` are left out, and all that follows is the product's own: the parts, the
store, the order, the API, the intake, and the steps `convert`, `validate` and `register`.

Every process of the pipeline may allocate PROCESS_MEMORY_MB (`ulimit -d`), which the whole table exceeds; that is tried
as well. Memory is resident memory: of one process its high-water mark, of the pipeline the sum over its processes, with
shared pages counted once (Pss), looked at five times a second. tests/orchestrators/install dask makes the environment.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
import psutil

from tests.monitors.workflows.remote.service import Asked, Service
from tests.orchestrators.s3_server import BUCKET, s3_server
from tests.orchestrators.server import ENVIRONMENTS, SOURCES
from tests.performance.installation import installation

PYTHON = ENVIRONMENTS / "dask/bin/python"
PROGRAM = SOURCES.parents[1] / "docs/guides/cluster_training.py"
PROCESS_MEMORY_MB = 1024
WORKER_MEMORY = "600MiB"
PATIENCE_SECONDS = 3600
READ_WHOLE = """
import sys, pandas
rows = pandas.read_parquet(sys.argv[1])
print(len(rows), [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""


@dataclass
class Peak:
    """The most memory that a group of processes had at once, and its largest process."""

    together_mb: float = 0.0
    process_mb: float = 0.0
    processes: int = 0

    def look(self, group: int) -> None:
        shares = [memory.pss / 2**20 for memory in _memory_of(group)]
        self.together_mb = max(self.together_mb, sum(shares))
        self.process_mb = max(self.process_mb, *shares, 0.0)
        self.processes = max(self.processes, len(shares))


@dataclass
class Pipeline:
    """Runs the example for the order that it gets, within the limit, and watches its memory."""

    environment: dict[str, str]
    log: Path
    peak: Peak
    seconds: float = 0.0
    code: int | None = None

    def take(self, asked: Asked) -> tuple[int, None]:
        threading.Thread(target=self._run, args=(asked.body,)).start()
        return 202, None

    def _run(self, order: bytes) -> None:
        started = time.monotonic()
        with self.log.open("wb") as log:
            process = limited(
                [str(PYTHON), str(PROGRAM)], self.environment, stdin=subprocess.PIPE, stdout=log, stderr=log
            )
            assert process.stdin is not None
            process.stdin.write(order)
            process.stdin.close()
            while process.poll() is None:
                self.peak.look(process.pid)
                time.sleep(0.2)
        self.seconds, self.code = time.monotonic() - started, process.returncode


def limited(command: list[str], environment: dict[str, str], **pipes: Any) -> subprocess.Popen[bytes]:
    """Start a command that, like each process that it starts, may allocate PROCESS_MEMORY_MB."""
    shell = ["sh", "-c", f'ulimit -d {PROCESS_MEMORY_MB * 1024} && exec "$@"', "sh", *command]
    return subprocess.Popen(shell, env=environment, start_new_session=True, **pipes)


def _memory_of(group: int) -> Iterator[Any]:
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == group:
                yield process.memory_full_info()
        except (psutil.Error, ProcessLookupError):
            continue


def read_whole(path: Path) -> tuple[str, str]:
    """Read the snapshot at once without the limit, and with it; return memory in MB, and how the second one ends."""
    command = [str(PYTHON), "-c", READ_WHOLE, str(path)]
    free = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    process = limited(command, dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, error = process.communicate()
    ending = error.decode().strip().rpartition("\n")[2] if process.returncode else "it fits"
    return f"{int(free[1]) / 1024:,.0f}", ending


def worker(run: int) -> dict[str, Any]:
    """Take a run as far as it goes in a process of its own, as a Celery worker would."""
    command = [sys.executable, "-m", "tests.performance.cluster_bench", "--advance", str(run)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def advance_here(run: int) -> None:
    django.setup()
    from monitors.workflows.engine import advance
    from monitors.workflows.models import Run

    before, started = high_water_mb(), time.monotonic()
    advance(run_id=run)
    found = Run.objects.get(pk=run)
    print(
        json.dumps(
            {
                "seconds": time.monotonic() - started,
                "before_mb": before,
                "peak_mb": high_water_mb(),
                "needs": found.needs,
                "state": found.state,
                "steps": {step.name: step.error or step.evidence for step in found.steps.all()},
            }
        )
    )


def high_water_mb() -> float:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def measure(rows: int) -> None:
    subprocess.run([SOURCES / "install", "dask"], check=True)
    with (
        tempfile.TemporaryDirectory(prefix="driftline-bench-") as scratch,
        s3_server(Path(scratch)) as variables,
    ):
        folder = Path(scratch)
        os.environ |= variables | {
            "DRIFTLINE_SNAPSHOT_STORE": f"s3://{BUCKET}/driftline",
            "DRIFTLINE_OUTBOUND_ALLOW": "127.0.0.1/32",
            "DJANGO_SETTINGS_MODULE": "driftline.settings",
        }
        with installation(folder / "home") as installed:
            os.environ |= {
                "DRIFTLINE_HOME": str(installed.paths.home),
                "DRIFTLINE_DATABASE_URL": "",
                "DRIFTLINE_BROKER_URL": "",
                "DRIFTLINE_PUBLIC_URL": f"http://127.0.0.1:{installed.port}",
            }
            django.setup()
            _measure(rows, folder)


def _measure(rows: int, folder: Path) -> None:
    from monitors.workflows.models import RemoteTraining
    from monitors.workflows.remote.snapshot_file import snapshot_path
    from tests.performance import cluster_snapshot

    pipeline = Pipeline(
        {**os.environ, "DASK_WORKER_MEMORY": WORKER_MEMORY, "HOME": str(folder)}, folder / "dask.log", Peak()
    )
    with Service(pipeline.take) as service:
        run = cluster_snapshot.start_run(rows, f"{service.url}/train")
        hold = folder / "whole.parquet"
        started = worker(run)
        training = RemoteTraining.objects.get(run=run)
        assert training.started_at is not None, started
        print_start(started, training.snapshot, snapshot_path(run))
        os.link(snapshot_path(run), hold)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while pipeline.code is None and time.monotonic() < deadline:
            time.sleep(0.5)
    training.refresh_from_db()
    assert (pipeline.code, bool(training.artifact_sha256)) == (0, True), pipeline.log.read_text()[-4000:]
    print(
        f"pipeline: {pipeline.seconds:,.0f} s, {pipeline.peak.processes} processes, at most "
        f"{pipeline.peak.together_mb:,.0f} MB together and {pipeline.peak.process_mb:,.0f} MB in one; "
        f"last progress {training.progress:.2f}: {training.message}"
    )
    ended = worker(run)
    print(f"worker, with the ONNX: {ended['seconds']:,.0f} s, at most {ended['peak_mb']:,.0f} MB")
    print(f"  the run needs {ended['needs']}: {' '.join(ended['steps']['validate']['reasons'])}")
    whole_mb, ending = read_whole(hold)
    print(f"the whole in one process: {whole_mb} MB; within {PROCESS_MEMORY_MB:,} MB: {ending}")


def print_start(started: dict[str, Any], snapshot: dict[str, Any], path: Path) -> None:
    parts = snapshot["parts"]
    print(
        f"worker, up to the start: {started['seconds']:,.0f} s, at most {started['peak_mb']:,.0f} MB "
        f"({started['before_mb']:,.0f} before); {snapshot['rows']:,} rows in {len(parts)} parts of at most "
        f"{max(part['rows'] for part in parts):,}; the file has {path.stat().st_size / 2**20:,.0f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--advance", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.advance is not None:
        advance_here(options.advance)
    else:
        measure(options.rows)


if __name__ == "__main__":
    main()
