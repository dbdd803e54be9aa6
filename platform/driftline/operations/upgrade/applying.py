"""Applies migrations to a database in use.

A statement that waits for a table's lock makes all that come after it wait too, as PostgreSQL's queues are in order.
So a migration waits briefly, is rolled back, and is tried again once those behind it had their turn. Each is applied
and recorded in one transaction: one that is killed has done all or nothing.
"""

import time
from contextlib import nullcontext

from django.core.management import call_command
from django.core.management.sql import emit_pre_migrate_signal
from django.db import OperationalError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from psycopg2.errors import DeadlockDetected, LockNotAvailable

from driftline.operations.backup.making import Say
from driftline.operations.upgrade.pending import name_of

LOCK_MS = (
    1_200  # longer than deadlock_timeout (1 s), after which PostgreSQL ends an autovacuum that is in the way
)
PAUSE_SECONDS = 2.0
TRIES = 200  # of one migration: ten minutes
_OLDEST = """
    SELECT pid, round(extract(epoch FROM clock_timestamp() - xact_start)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
    ORDER BY xact_start LIMIT 1
"""


class TablesInUse(Exception):
    """A lock could not be had for minutes; the text says who has the oldest transaction."""


def apply_pending(applied: list[str], say: Say) -> None:
    """Apply what is pending, and add the name of each migration to `applied`; raises TablesInUse or Django's Error."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = {LOCK_MS}")
        cursor.execute("SET client_connection_check_interval = 1000")  # a killed upgrade frees its locks
    tries, before = 0, -1
    while True:
        try:
            _apply(applied, say)
            call_command("migrate", interactive=False, verbosity=0)  # what Django does after migrations
            return
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable | DeadlockDetected):
                raise
            tries, before = tries + 1 if len(applied) == before else 1, len(applied)
            if tries == TRIES:
                raise TablesInUse(
                    f"A table was in use at each of {TRIES} tries{_describe_oldest()}."
                ) from error
            if tries == 1:
                say(f"A table is in use{_describe_oldest()}; trying again.")
        time.sleep(PAUSE_SECONDS)


def _apply(applied: list[str], say: Say) -> None:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    state = executor.migrate([], plan=[])  # of what is applied already
    # Content types learn by it to follow the models that the plan renames.
    emit_pre_migrate_signal(0, False, connection.alias, apps=state.apps, plan=plan)
    for migration, _ in plan:
        began = time.monotonic()
        # Django records some migrations after their transaction, so this one is around both.
        with transaction.atomic() if migration.atomic else nullcontext():
            state = executor.migrate([], plan=[(migration, False)], state=state)
        applied.append(name_of(migration))
        say(f"  {name_of(migration)}: {time.monotonic() - began:.1f} s")


def _describe_oldest() -> str:
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST)
        found = cursor.fetchone()
    return f": session {found[0]} of the database has a transaction open for {found[1]} s" if found else ""
