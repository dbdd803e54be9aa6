"""A database that stands still ends the requests that wait for it, and keeps no others waiting."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from django.db import connection

from driftline.base.database import watch as watch_module
from driftline.base.database.watch import DatabaseWatch
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db

PROBE = "probe of a test"


def parameters() -> dict[str, Any]:
    found: dict[str, Any] = connection.get_connection_params()
    return found


@pytest.fixture
def watch() -> Iterator[DatabaseWatch]:
    made, known = DatabaseWatch(), parameters() | {"application_name": PROBE}
    made.start(lambda: known)
    yield made
    made.stop()


@pytest.fixture
def stopped() -> Iterator[set[int]]:
    """Processes that the test stopped; they go on at its end."""
    pids: set[int] = set()
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def stop(pid: int, stopped: set[int]) -> None:
    stopped.add(pid)
    os.kill(pid, signal.SIGSTOP)


def ask_slowly(watch: DatabaseWatch, statement: str, errors: list[Exception | None]) -> threading.Thread:
    """Run a statement as a request does, in a thread."""
    asked = psycopg2.connect(**parameters())
    watch.follow(asked)

    def ask() -> None:
        with watch.request(), closing(asked), asked.cursor() as cursor:
            try:
                cursor.execute(statement)
                errors.append(None)
            except psycopg2.Error as error:
                errors.append(error)

    thread = threading.Thread(target=ask)
    thread.pid = asked.info.backend_pid  # type: ignore[attr-defined]
    return thread


def answered_backends(application: str) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND state = 'idle' AND query = 'SELECT 1'",
            [application],
        )
        return [pid for (pid,) in cursor.fetchall()]


@pytest.mark.slow
def test_ends_a_statement_that_a_frozen_server_never_answers(
    watch: DatabaseWatch, stopped: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request hung for ever: no time-out of the server's runs while it stands still."""
    errors = list[Exception | None]()
    asking = ask_slowly(watch, "SELECT pg_sleep(0.6)", errors)
    with monkeypatch.context() as patience:
        patience.setattr(watch_module, "ANSWER_SECONDS", 20.0)  # a busy machine is not silent either
        asking.start()
        [probe] = wait_until(lambda: answered_backends(PROBE), what="the watch's answer")
    asking.join(60)
    assert errors == [None]  # slow is not silent

    frozen = ask_slowly(watch, "SELECT 1", errors)
    stop(probe, stopped)
    stop(frozen.pid, stopped)  # type: ignore[attr-defined]
    frozen.start()
    frozen.join(60)

    assert not frozen.is_alive()
    assert isinstance(errors[1], psycopg2.OperationalError)


def test_refuses_at_once_while_the_database_is_silent_and_again_takes_when_it_answers(
    watch: DatabaseWatch,
) -> None:
    watch._is_silent = True

    with pytest.raises(psycopg2.OperationalError, match="does not answer"):
        watch.refuse_while_silent()

    wait_until(lambda: not watch._is_silent, what="the next answer")
    watch.refuse_while_silent()


def test_a_database_that_is_away_is_not_silent() -> None:
    """Who is refused a connection hears so at once, and has nothing to wait for."""
    watch = DatabaseWatch()
    watch.start(lambda: {"host": "/nowhere", "dbname": "none", "user": "none"})
    with watch.request():
        time.sleep(0)
        watch._running[threading.get_ident()] -= 60
        watch._is_silent = True
        wait_until(lambda: not watch._is_silent, what="an answer")
    watch.stop()
