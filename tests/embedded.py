"""The database and broker of a test session: real servers where the environment names them, else our own.

Loaded as a pytest plugin (`-p tests.embedded`), as pytest-django reads the settings before any conftest.py.
"""

import atexit
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from driftline.operations.services.paths import HomePaths, create_folders, home_paths
from driftline.operations.services.postgres import postgres_child
from driftline.operations.services.processes import MAX_LOG_BYTES, Child, Process
from driftline.operations.services.valkey import valkey_child
from tests.tiers import serves_all_tests, started_for_all_tests, starts_processes

CHECKOUT = Path(__file__).resolve().parents[1]
REAL_SERVERS = {
    "DRIFTLINE_TEST_DATABASE_URL": "DRIFTLINE_DATABASE_URL",
    "DRIFTLINE_TEST_BROKER_URL": "DRIFTLINE_BROKER_URL",
}
TEMPLATE_LOCK = "template.lock"
_running: list[Process] = []
_making: list["subprocess.Popen[bytes]"] = []


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Point the settings at a home and servers for tests only, before Django reads them.

    The workers of pytest-xdist inherit the choice through the environment.
    """
    if "DRIFTLINE_TEST_HOME" in os.environ:
        return
    home = tempfile.mkdtemp(prefix="driftline-tests-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ["DRIFTLINE_TEST_HOME"] = os.environ["DRIFTLINE_HOME"] = home
    for test_name, name in REAL_SERVERS.items():
        os.environ.pop(name, None)
        if os.environ.get(test_name):
            os.environ[name] = os.environ[test_name]


@serves_all_tests
def start_services() -> None:
    """Start what the environment does not name, once for the session; the workers find it running."""
    if _running or "PYTEST_XDIST_WORKER" in os.environ:
        return
    paths = home_paths(os.environ["DRIFTLINE_TEST_HOME"])
    with started_for_all_tests():
        children = []
        if not os.environ.get("DRIFTLINE_DATABASE_URL"):
            children.append(postgres_child(paths, durable=False))
        if not os.environ.get("DRIFTLINE_BROKER_URL"):
            children.append(valkey_child(paths))
        for process in [launch(child, paths) for child in children]:
            process.wait_ready()
            _running.append(process)


@serves_all_tests
def start_template() -> None:
    """Begin to make the embedded server's own database what workers copy in place of migrating one each.

    The lock is held by the process that makes it, until it has ended.
    """
    if os.environ.get("DRIFTLINE_DATABASE_URL") or "PYTEST_XDIST_WORKER" in os.environ or _making:
        return  # that database is somebody's, or it is being made
    home = os.environ["DRIFTLINE_TEST_HOME"]
    with (Path(home) / TEMPLATE_LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [sys.executable, "-m", "tests.template_database", home]
        with started_for_all_tests():
            _making.append(subprocess.Popen(command, cwd=CHECKOUT, pass_fds=[lock.fileno()], process_group=0))


def wait_for_template() -> bool:
    """Wait until there is a migrated database to copy; False where none is made."""
    path = Path(os.environ["DRIFTLINE_TEST_HOME"]) / TEMPLATE_LOCK
    if not path.exists():
        return False
    with path.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
    return True


def subprocess_environment() -> dict[str, str]:
    """Give the environment in which a subprocess uses the current test's database and broker."""
    from django.conf import settings
    from django.db import connection

    database = connection.settings_dict
    host, name = quote(str(database["HOST"]), safe=""), quote(str(database["NAME"]), safe="")
    login = ":".join(quote(str(part), safe="") for part in (database["USER"], database["PASSWORD"]) if part)
    return {
        **os.environ,
        "DRIFTLINE_DATABASE_URL": f"postgresql://{login}@{host}:{database['PORT'] or 5432}/{name}",
        "DRIFTLINE_BROKER_URL": settings.CELERY_BROKER_URL,
    }


def stop_services() -> None:
    """Stop what `start_services` and `start_template` started."""
    while _making:
        template = _making.pop()
        with suppress(ProcessLookupError):  # it has ended, and so has what it started
            os.killpg(template.pid, signal.SIGTERM)
        template.wait()
    while _running:
        _running.pop().stop()


@starts_processes
def launch(child: Child, paths: HomePaths, *, max_log_bytes: int = MAX_LOG_BYTES) -> Process:
    """Start `child` with its lock and log under its home."""
    create_folders(paths)
    process = Process(child, lock_folder=paths.run, log_folder=paths.log, max_log_bytes=max_log_bytes)
    process.start()
    return process


def make_home(folder: Path) -> HomePaths:
    """Make an empty home in `folder`, for a test that runs services of its own."""
    paths = home_paths(folder)
    create_folders(paths)
    return paths
