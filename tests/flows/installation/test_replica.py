"""Pages and lists are read from a real standby, and from the primary where the standby will not do."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from driftline.demo.api_client import Api
from driftline.operations.services.paths import POSTGRES_PORT
from driftline.operations.services.postgres import SUPERUSER, postgres_binaries, postgres_child
from driftline.operations.services.urls import DATABASE_NAME, DATABASE_USER
from tests.flows.installation.running import Installation
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

CATCH_UP_SECONDS = 60.0


@dataclass
class Standby:
    """A standby of an installation's database, made by pg_basebackup."""

    primary: Installation
    folder: Path
    _process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"postgresql://{DATABASE_USER}@/{DATABASE_NAME}?host={self.folder}&port={POSTGRES_PORT}"

    def make(self) -> None:
        """Copy the primary, which goes on meanwhile."""
        source = ["-h", str(self.primary.paths.sockets), "-p", str(POSTGRES_PORT), "-U", DATABASE_USER]
        self._run("pg_basebackup", *source, "-D", str(self._data), "-R", "-X", "stream", "-c", "fast")

    def start(self) -> None:
        child = postgres_child(self.primary.paths)
        options = [one for one in child.command[3:] if not one.startswith("unix_socket_directories")]
        pairs = [one for one in options if one != "-c"]
        settings = [*pairs, f"unix_socket_directories={self.folder}", "hot_standby_feedback=on"]
        command = [child.command[0], "-D", str(self._data)]
        with (self.folder / "standby.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *(part for one in settings for part in ("-c", one))],
                stdout=log,
                stderr=log,
                preexec_fn=child.enter,
            )
        wait_until(self._answers, what="the standby", seconds=CATCH_UP_SECONDS)

    def query(self, sql: str) -> Any:
        found = psycopg2.connect(self.url, user=SUPERUSER)
        found.autocommit = True
        with closing(found), found.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0]

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have every process of the standby stand still."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        pids = [self._process.pid, *map(int, children)]
        self.primary.send(signal.SIGSTOP, pids)
        try:
            yield
        finally:
            self.primary.send(signal.SIGCONT, pids)

    def is_level(self) -> bool:
        """Tell whether it has replayed all that the primary has written so far."""
        [(position,)] = self.primary.query("SELECT pg_current_wal_lsn()")
        return bool(self.query(f"SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn"))

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _answers(self) -> bool:
        try:
            return bool(self.query("SELECT pg_is_in_recovery()"))
        except psycopg2.OperationalError:
            return False

    def _run(self, program: str, *arguments: str) -> None:
        child = postgres_child(self.primary.paths)
        command = [str(postgres_binaries() / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, preexec_fn=child.enter)


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path / "home", free_port())
    installation.start()
    try:
        yield installation
    finally:
        installation.end()


@pytest.fixture
def standby(primary: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standby]:
    made = Standby(primary, tmp_path_factory.mktemp("s"))
    made.folder.chmod(0o700)
    made.make()
    made.start()
    try:
        yield made
    finally:
        made.kill()
        shutil.rmtree(made.folder)


def names(api: Api) -> set[str]:
    return {model["name"] for model in api.get("/api/v1/models")["items"]}


def token_of(installation: Installation, name: str) -> str:
    made = installation.manage(
        "token", "create", "--project", "default", "--name", name, "--scopes", "read,write"
    )
    assert made.returncode == 0, made.stderr
    return made.stdout.split()[-1]


def test_lists_come_from_the_standby_and_whoever_writes_reads_it_back(
    primary: Installation, standby: Standby
) -> None:
    primary.stop()
    primary.environment["DRIFTLINE_REPLICA_URL"] = standby.url
    primary.start()
    wait_until(  # a standby connects again some seconds after its primary is back
        lambda: "replica: pages and lists are read from it" in primary.manage("doctor").stdout,
        what="a standby that the doctor finds fit to be read",
        seconds=CATCH_UP_SECONDS,
    )
    ada, grace = (Api("127.0.0.1", primary.port, token_of(primary, name)) for name in ("of ada", "of grace"))
    wait_until(standby.is_level, what="the standby's catching up", seconds=CATCH_UP_SECONDS)

    with closing(ada), closing(grace):
        standby.query("SELECT pg_wal_replay_pause()::text")
        ada.post("/api/v1/models", {"name": "churn", "task": "binary"})
        seen_meanwhile = names(ada), names(grace)
        standby.query("SELECT pg_wal_replay_resume()::text")
        wait_until(lambda: "churn" in names(grace), what="the new model", seconds=CATCH_UP_SECONDS)

        with standby.frozen():
            ada.post("/api/v1/models", {"name": "fraud", "task": "binary"})
            wait_until(lambda: "fraud" in names_or_none(grace), what="an answer of the primary", seconds=30)

        standby.kill()
        wait_until(lambda: "fraud" in names_or_none(grace), what="an answer of the primary", seconds=30)
        trouble = primary.manage("doctor").stdout

    assert seen_meanwhile == ({"churn"}, set())
    assert "MEND  replica: it is away" in trouble


def names_or_none(api: Api) -> set[str]:
    """Give the names, or none while the standby that failed just now still has requests."""
    try:
        return names(api)
    except Exception:
        return set()
