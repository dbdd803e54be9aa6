"""PostgreSQL's advisory locks: the table of all kinds, and how to take one.

The processes of an installation agree on the numbers, also while one version replaces another: never change one.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum, unique

from django.db import Error, OperationalError, connection, transaction
from psycopg2.errors import LockNotAvailable


@unique
class AdvisoryLock(IntEnum):
    """The kinds of locks; a lock of most kinds is on one key, such as the id of a model."""

    LABEL_JOIN = 7_301  # model: writers of predictions share it, a writer of labels has it alone
    SUMMARIES = 7_302  # model: one process at a time changes its summaries; taken before LABEL_JOIN
    METRIC_POINTS = 7_303  # model: one process at a time writes its points
    RULES = 7_304  # model: one process at a time judges its rules
    ALERTS = 7_306  # model: one process at a time changes its alerts and incidents
    MESSAGE_GROUP = 7_307  # channel: one process at a time joins messages of its groups
    PARTITIONS = 7_305  # no key: one process at a time makes partitions
    SUMMARISE_TASK = 7_312  # model: one task at a time summarises it
    MEASURE_TASK = 7_313  # model: one task at a time measures it
    JUDGE_TASK = 7_314  # model: one task at a time judges it
    NULL_DRAWS = 7_316  # reference: one process at a time stores its draws
    IMPORT = 7_322  # import: held by the session that works on it, so it ends with the process
    ARRIVAL_WEEK = 7_324  # week: its writers share it; who has it alone knows that they have ended
    DATASET_FILES = 7_326  # no key: who records a data set shares it, who removes files has it alone
    REPORT_START = 7_331  # 0: one report at a time is begun
    EVENT_HALVES = 7_341  # model: one writer at a time keeps halves of events; taken before LABEL_JOIN
    LAKE_FILES = 7_343  # project: one worker at a time puts a file of its lake in its place
    FEED = 7_360  # no key: one process at a time gives events their places in the feed
    INVITATION_LETTER = 7_389  # invitation: one worker at a time sends its letter
    AUDIT_SEALING = 7_390  # no key: one process at a time seals audit entries
    BACKUP_MOMENT = 7_392  # no key: erasures share it, a backup that fixes its moment has it alone
    UPGRADE = 7_395  # no key: one upgrade at a time, held by its session, so it ends with the process


def lock(kind: AdvisoryLock, *key: int, shared: bool = False) -> None:
    """Wait for a lock, and hold it until the caller's transaction ends."""
    _select("pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock", kind, *key)


def try_lock(kind: AdvisoryLock, *key: int) -> bool:
    """Take a lock until the caller's transaction ends; return False if somebody has it."""
    return bool(_select("pg_try_advisory_xact_lock", kind, *key))


@contextmanager
def session_lock(
    kind: AdvisoryLock, *key: int, shared: bool = False, wait_seconds: float = 0.0
) -> Iterator[bool]:
    """Hold a lock while the block runs, outside transactions; the block gets False if somebody has it.

    With `wait_seconds` it waits for so long, and whoever wants the lock later comes after it.
    """
    sharing = "_shared" if shared else ""
    if wait_seconds:
        is_held = _wait_for(f"pg_advisory_lock{sharing}", kind, *key, seconds=wait_seconds)
    else:
        is_held = bool(_select(f"pg_try_advisory_lock{sharing}", kind, *key))
    try:
        yield is_held
    finally:
        if is_held:
            with suppress(Error):  # a dead session holds no lock, and what the block raised says more
                _select(f"pg_advisory_unlock{sharing}", kind, *key)


def _wait_for(function: str, *arguments: int, seconds: float) -> bool:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{seconds * 1000:.0f}ms"])
            _select(function, *arguments)
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            return False
        raise
    return True


def _select(function: str, *arguments: int) -> object:
    places = ", ".join(["%s"] * len(arguments))
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}({places})", [int(argument) for argument in arguments])
        (result,) = cursor.fetchone()
    return result
