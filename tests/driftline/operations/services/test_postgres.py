"""The embedded PostgreSQL: made on first start, whole after a crash, alone on its data."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from driftline.operations.services import postgres
from driftline.operations.services.paths import (
    NOBODY,
    HomePaths,
    UnsafeSocketFolder,
    create_folders,
    home_paths,
)
from driftline.operations.services.postgres import WrongPostgresVersion, connect, postgres_child
from driftline.operations.services.processes import ChildNotStarted, Process, holders
from tests.embedded import launch, make_home
from tests.small_disk import mounted_disk

pytestmark = pytest.mark.slow

OWNER_SCRIPT = """
import sys, time
from pathlib import Path
from driftline.operations.services.postgres import postgres_child
from tests.embedded import launch, make_home
paths = make_home(Path(sys.argv[1]))
process = launch(postgres_child(paths), paths)
process.wait_ready()
print(process.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def paths(tmp_path: Path) -> HomePaths:
    return make_home(tmp_path / "home")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a server that was started and stopped."""
    paths = make_home(tmp_path_factory.mktemp("cluster"))
    with running(paths):
        return paths.postgres_data


@pytest.fixture
def started_before(paths: HomePaths, cluster: Path) -> HomePaths:
    """A home that has a cluster: a copy, as to make one takes a second."""
    shutil.copytree(cluster, paths.postgres_data)
    return paths


@contextlib.contextmanager
def running(paths: HomePaths) -> Iterator[Process]:
    process = launch(postgres_child(paths), paths)
    try:
        process.wait_ready()
        yield process
    finally:
        process.stop()


def execute(paths: HomePaths, statement: str) -> list[tuple[object, ...]]:
    with contextlib.closing(connect(paths)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


class TestStart:
    def test_serves_no_network_address_and_keeps_every_acknowledged_commit(
        self, started_before: HomePaths
    ) -> None:
        with running(started_before):
            settings = dict(execute(started_before, "SELECT name, setting FROM pg_settings"))

        assert settings["listen_addresses"] == ""
        assert started_before.sockets.stat().st_mode & 0o777 == 0o700
        assert [settings[name] for name in ("fsync", "synchronous_commit", "full_page_writes")] == ["on"] * 3

    @pytest.mark.parametrize(
        "statement",
        [
            "COPY (SELECT 1) TO PROGRAM 'cat'",
            "SELECT pg_read_file('PG_VERSION')",
            "SET session_replication_role = 'replica'",
            "ALTER SYSTEM SET archive_command = 'cat'",
        ],
    )
    def test_lets_the_product_itself_start_no_program_read_no_file_and_skip_no_trigger(
        self, started_before: HomePaths, statement: str
    ) -> None:
        with running(started_before), contextlib.closing(connect(started_before)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor, pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(statement)

    def test_uses_a_short_socket_folder_where_the_home_is_deep(self, tmp_path: Path) -> None:
        paths = make_home(tmp_path / ("deep folder " * 9) / "home")

        with running(paths):
            answer = execute(paths, "SELECT 1")

        assert answer == [(1,)]
        assert paths.sockets.parent == Path("/tmp")
        paths.sockets.rmdir()

    def test_replaces_a_cluster_whose_making_was_interrupted(self, paths: HomePaths) -> None:
        unfinished = paths.home / "postgres.unfinished"
        unfinished.mkdir()
        (unfinished / "PG_VERSION").write_text("18\n")

        with running(paths):
            answer = execute(paths, "SELECT 1")

        assert answer == [(1,)]
        assert not unfinished.exists()

    def test_says_that_there_is_no_room_for_a_cluster_and_nothing_else(self, tmp_path: Path) -> None:
        with mounted_disk(tmp_path, "4m") as disk:
            paths = make_home(disk / "home")

            with pytest.raises(ChildNotStarted, match=r"^No space left on device: free some for .*/home\.$"):
                launch(postgres_child(paths), paths)

    def test_refuses_the_data_of_another_major_version(self, paths: HomePaths) -> None:
        paths.postgres_data.mkdir(mode=0o700)
        (paths.postgres_data / "PG_VERSION").write_text("15\n")

        with pytest.raises(WrongPostgresVersion, match=r"PostgreSQL 15 .* is 18"):
            launch(postgres_child(paths), paths)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
class TestStartAsRootWithoutUserNamespaces:
    @pytest.fixture(autouse=True)
    def no_user_namespaces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As in a container whose profile forbids them; nothing else of the start is replaced."""
        monkeypatch.setattr(postgres, "_succeeds_in_child", lambda enter: False)

    def test_serves_as_nobody(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            paths = make_home(Path(folder) / "home")
            with running(paths) as process:
                answer = execute(paths, "SELECT 1")
                owner = Path(f"/proc/{process.pid}").stat().st_uid
                mode = paths.home.stat().st_mode & 0o777

        assert mode == 0o711  # it passes through the home, and lists nothing in it
        assert answer == [(1,)]
        assert owner == NOBODY

    def test_archives_no_log_of_which_it_cannot_read_the_models(
        self, paths: HomePaths, tmp_path: Path
    ) -> None:
        with pytest.raises(ChildNotStarted, match="or leave DRIFTLINE_WAL_ARCHIVE empty"):
            launch(postgres_child(paths, wal_archive=tmp_path / "archive"), paths)

    def test_says_what_to_do_where_nobody_may_not_enter(self, paths: HomePaths) -> None:
        paths.home.parent.chmod(0o700)

        with pytest.raises(ChildNotStarted, match=f"let user {NOBODY} enter every folder above"):
            launch(postgres_child(paths), paths)


class TestSocketFolder:
    def test_is_refused_when_it_belongs_to_somebody_else(self, paths: HomePaths) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can give a folder away")
        os.chown(paths.sockets, 12345, -1)

        with pytest.raises(UnsafeSocketFolder, match="belongs to user id 12345"):
            create_folders(paths)

    def test_is_the_same_for_every_process_of_a_home(self, tmp_path: Path) -> None:
        deep = tmp_path / ("x" * 100)

        assert home_paths(deep).sockets == home_paths(str(deep)).sockets
        assert home_paths(deep).sockets != home_paths(deep / "other").sockets


class TestCrash:
    def test_keeps_committed_rows_through_kill_9(self, started_before: HomePaths) -> None:
        with running(started_before) as process:
            execute(started_before, "CREATE TABLE kept (n int)")
            for number in range(50):
                execute(started_before, f"INSERT INTO kept VALUES ({number})")

            os.kill(process.pid or 0, signal.SIGKILL)
            process.clear()
            process.start()
            process.wait_ready()
            found = execute(started_before, "SELECT count(*), sum(n) FROM kept")

        assert found == [(50, 1225)]

    def test_ignores_a_stale_pid_file_that_names_a_living_process(self, started_before: HomePaths) -> None:
        with running(started_before):
            execute(started_before, "CREATE TABLE kept (n int)")
        stale = f"{os.getpid()}\n{started_before.postgres_data}\n1\n5432\n{started_before.sockets}\n\n  0 0\nready   \n"
        (started_before.postgres_data / "postmaster.pid").write_text(stale)
        Path(f"{started_before.postgres_socket}.lock").write_text(stale)
        started_before.postgres_socket.touch()

        with running(started_before):
            found = execute(started_before, "SELECT count(*) FROM kept")

        assert found == [(0,)]

    def test_starts_again_after_its_supervisor_was_killed(self, started_before: HomePaths) -> None:
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER_SCRIPT, str(started_before.home)], stdout=subprocess.PIPE, text=True
        )
        assert owner.stdout is not None
        with owner:
            owner.stdout.readline()
            execute(started_before, "CREATE TABLE kept (n int)")

            owner.kill()

        with running(started_before):
            found = execute(started_before, "SELECT count(*) FROM kept")
        assert found == [(0,)]


class TestStop:
    def test_leaves_no_process_while_a_client_is_connected(self, started_before: HomePaths) -> None:
        process = launch(postgres_child(started_before), started_before)
        process.wait_ready()
        client = connect(started_before)

        code = process.stop()

        assert code == 0
        assert holders(started_before.run / "postgres.lock") == []
        with pytest.raises(psycopg2.OperationalError), client.cursor() as cursor:
            cursor.execute("SELECT 1")
        client.close()
