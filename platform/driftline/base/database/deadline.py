"""A deadline for what is asked of the database: work that is only nice to have is given up when it takes too long."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError, connection, transaction

_MIN_SECONDS = 0.001  # 0 would mean without a limit


@contextmanager
def give_up_after(seconds: float) -> Iterator[None]:
    """Run a block in a savepoint and end its statements after so many seconds; raises `TimeoutError` where they do not.

    The transaction around it goes on. What the block computes between its statements is not cut short.
    """
    until = time.monotonic() + seconds

    def run_in_time(execute: Callable[..., Any], sql: Any, parameters: Any, many: bool, context: Any) -> Any:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"It took more than {seconds:g} s.")
        _set_timeout(f"{max(round(left * 1000), 1)}ms")
        try:
            return execute(sql, parameters, many, context)
        except OperationalError as error:
            if time.monotonic() < until - _MIN_SECONDS:
                raise
            raise TimeoutError(f"It took more than {seconds:g} s.") from error

    with transaction.atomic():
        before = _timeout()
        with connection.execute_wrapper(run_in_time):
            yield
        _set_timeout(before)


def _timeout() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        [found] = cursor.fetchone()
    return str(found)


def _set_timeout(value: str) -> None:
    """Set how long the statements of this transaction may take, past the wrapper of `give_up_after`."""
    with connection.connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [value])
