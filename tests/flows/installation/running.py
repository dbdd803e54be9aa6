"""A whole installation in a home of its own: `manage.py up` as a process, seen and killed from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from driftline.demo.api_client import Api
from driftline.operations.services.paths import HomePaths, home_paths
from driftline.operations.services.postgres import connect
from driftline.operations.services.urls import DATABASE_USER
from tests.inference.onnx_models import constant_classifier_by_feature
from tests.ports import free_port
from tests.waiting import wait_until

MANAGE = Path(__file__).resolve().parents[3] / "manage.py"
START_SECONDS = 180.0
STOP_SECONDS = 150.0
FEATURES = [f"f{place}" for place in range(4)]


@dataclass(frozen=True)
class Found:
    """A process of the installation."""

    pid: int
    parent: int
    command: str


@dataclass
class Installation:
    """One home and the supervisor that runs it, if one does."""

    home: Path
    port: int
    supervisor: subprocess.Popen[bytes] | None = None
    under: Sequence[str] = ()  # a command that runs it, such as a tracer's
    start_seconds: float = START_SECONDS
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("DRIFTLINE_") or name == "DRIFTLINE_SPOOL_FSYNC"
        }
        self.environment = kept | {
            "DRIFTLINE_HOME": str(self.home),
            "DRIFTLINE_PORT": str(self.port),
            "DRIFTLINE_GRPC_PORT": str(free_port()),
            "DRIFTLINE_OUTBOUND_ALLOW": "127.0.0.1/32",
        }

    # Starting and stopping

    def start(self) -> float:
        """Run `up` until it says that it answers, unless it runs; give the seconds that it took."""
        if self.supervisor is not None:
            return 0.0
        started = time.monotonic()
        with self._log.open("ab") as log:
            begin = log.tell()
            self.supervisor = subprocess.Popen(
                [*self.under, sys.executable, str(MANAGE), "up"],
                cwd=MANAGE.parent,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        wait_until(
            lambda: b"Press Ctrl-C" in self._log.read_bytes()[begin:] or self._has_ended(),
            seconds=self.start_seconds,
            what="the start",
        )
        assert not self._has_ended(), self._log.read_text()
        return time.monotonic() - started

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask the supervisor to stop, and give its exit code once it has ended."""
        assert self.supervisor is not None
        self.supervisor.send_signal(number)
        code = self.supervisor.wait(STOP_SECONDS)
        self.supervisor = None
        return code

    def end(self) -> None:
        """Stop whatever runs; for the end of the tests."""
        if self.supervisor is not None and not self._has_ended():
            self.stop()

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(MANAGE), *arguments]
        return subprocess.run(
            command,
            cwd=MANAGE.parent,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @property
    def _log(self) -> Path:
        return self.home.parent / "up.log"

    def _has_ended(self) -> bool:
        return self.supervisor is None or self.supervisor.poll() is not None

    # Looking inside

    @property
    def paths(self) -> HomePaths:
        return home_paths(self.home)

    @property
    def credentials(self) -> dict[str, str]:
        """The operator's e-mail address and password, and the first token."""
        read: dict[str, str] = json.loads((self.home / "credentials").read_text())
        return read

    @property
    def token(self) -> str:
        return self.credentials["token"]

    def api(self) -> Api:
        return Api("127.0.0.1", self.port, self.token)

    def query(
        self, sql: str, parameters: Sequence[object] = (), *, user: str = DATABASE_USER
    ) -> list[tuple[Any, ...]]:
        """Ask the database itself, around everything that is tested."""
        with closing(connect(self.paths, user=user)) as connection, connection.cursor() as cursor:
            cursor.execute(sql, list(parameters))
            return list(cursor.fetchall())

    def processes(self) -> list[Found]:
        """Every process that was started for this home or works in it, the supervisor included."""
        candidates = [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]
        return [found for pid in candidates if (found := self._look_at(pid)) is not None]

    def _look_at(self, pid: int) -> Found | None:
        folder = Path(f"/proc/{pid}")
        mark = f"DRIFTLINE_HOME={self.home}\0".encode()
        try:
            is_ours = mark in (folder / "environ").read_bytes() or os.readlink(folder / "cwd").startswith(
                f"{self.home}/"
            )
            if not is_ours:
                return None
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            return None  # it ended meanwhile
        return Found(pid, parent, command) if command else None

    def running(self, what: str) -> list[Found]:
        """The processes whose command line holds `what`."""
        return [process for process in self.processes() if what in process.command]

    def kill(self, what: str) -> set[int]:
        """Send SIGKILL to the processes whose command line holds `what`; give their ids."""
        killed = {process.pid for process in wait_until(lambda: self.running(what), what=f"a {what}")}
        self.send(signal.SIGKILL, killed)
        return killed

    def kill_and_wait(self, what: str) -> None:
        """Kill what holds `what` and wait until another runs in its place."""
        killed = self.kill(what)
        wait_until(
            lambda: {process.pid for process in self.running(what)} - killed,
            seconds=90,
            what=f"the restart of {what}",
        )

    @contextmanager
    def stalled(self, what: str) -> Iterator[None]:
        """Have the processes whose command line holds `what` stand still meanwhile."""
        pids = [process.pid for process in self.running(what)]
        self.send(signal.SIGSTOP, pids)
        try:
            yield
        finally:
            self.send(signal.SIGCONT, pids)

    def send(self, number: signal.Signals, pids: Iterable[int]) -> None:
        """Signal processes that were found to be of this installation."""
        for pid in pids:
            # One that ended just before stays until its parent, going on again, collects it.
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    # What the tests check again and again

    def stored(self, model_id: int) -> dict[str, int]:
        """How many answered rows the log has of each prediction id."""
        return dict(
            self.query(
                "SELECT prediction_id, count(*) FROM inference_predictionrow "
                "WHERE model_id = %s AND role <> 'shadow' GROUP BY 1",
                [model_id],
            )
        )

    def wait_until_stored(self, model_id: int, ids: set[str], *, seconds: float = 60) -> dict[str, int]:
        """Wait until the log holds all `ids`, and give what it holds; the drain may need a moment."""
        deadline = time.monotonic() + seconds
        while not ids <= (stored := self.stored(model_id)).keys() and time.monotonic() < deadline:
            time.sleep(0.2)
        return stored

    def check_invariants(self) -> str:
        """Run the shipped checker, which must find that everything holds; give its closing line."""
        result = self.manage("check_invariants")
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout.strip().splitlines()[-1]


SERVING = "inference.serving.worker"
SERVER = "manage.py serve"
DRAIN = "drain_spool"
DATABASE = "bin/postgres -D"
TASKS = "celery worker"


def make_model(installation: Installation, name: str, **settings: Any) -> int:
    """Create a model over the API with a champion that answers class 1 with 0.8 whatever it is asked; give its id."""
    with closing(installation.api()) as api:
        model = api.post("/api/v1/models", {"name": name, "task": "binary", **settings})
        metadata = {
            "features": [{"name": name, "type": "float"} for name in FEATURES],
            "outputs": {"prediction": "label", "probabilities": "probabilities"},
            "classes": ["0", "1"],
            "positive_class": "1",
        }
        api.upload(
            f"/api/v1/models/{name}/versions",
            constant_classifier_by_feature(0.8, FEATURES),
            metadata=msgspec.json.encode(metadata),
        )
    return int(model["id"])
