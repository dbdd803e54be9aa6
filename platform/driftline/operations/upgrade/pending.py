"""Which migrations the database lacks, which of them hold up others, and whether the database is one to migrate."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from django.apps import apps
from django.db import connection, migrations
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.recorder import MigrationRecorder

from driftline.base.byte_sizes import format_bytes

BASELINE = "0001_initial"
"""The first migration of each of our apps since release 0.1.0; no database from before can be upgraded."""
LARGE_BYTES = 100 << 20
"""From about this size on, reading or writing all rows of a table anew takes a second and more."""
_ON_EVERY_ROW = (
    migrations.AddConstraint,
    migrations.AddIndex,
    migrations.AlterField,
    migrations.AlterUniqueTogether,
)
"""Operations that may read or rewrite a whole table under a lock, as a new field does that brings an index or a key."""
_SIZES = """
    SELECT relname, coalesce(
        (SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree(pg_class.oid)), pg_total_relation_size(oid)
    )::bigint
    FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace
"""


_TABLES = """
    SELECT relname FROM pg_class
    WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace
"""
_PACKAGES = {"driftline", "inference", "monitors"}


@dataclass(frozen=True)
class RefusedDatabase:
    """Why this code may not migrate a database, or load a backup."""

    text: str
    """A sentence that says what the database is."""
    remedy: str
    """A sentence that says what to do."""

    def __str__(self) -> str:
        return f"{self.text} {self.remedy}"


@dataclass(frozen=True)
class PendingMigrations:
    """What the database and this code know of each other's migrations."""

    names: tuple[str, ...]
    """To be applied, in this order, each such as `inference.0043_lake_marker`."""
    refused: RefusedDatabase | None
    """Why nothing may be applied, if so."""
    remarks: tuple[str, ...]
    """Sentences on those that lock a large table for long, or may."""
    is_new: bool
    """Whether the database holds nothing yet."""

    def describe(self) -> Iterator[str]:
        """Yield how many there are of which app, and what is to know of them; nothing where there are none."""
        if self.names:
            apps = Counter(name.partition(".")[0] for name in self.names)
            counts = ", ".join(f"{count} of {app}" for app, count in apps.items())
            yield f"{count_migrations(len(self.names))} to apply: {counts}."
            yield from self.remarks


def count_migrations(count: int) -> str:
    """Write a number of migrations."""
    return f"{count} migration{'' if count == 1 else 's'}"


def read_pending() -> PendingMigrations:
    """Compare the database with this code, and look at the sizes of the tables."""
    executor = MigrationExecutor(connection)
    applied = executor.loader.applied_migrations
    plan = [migration for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]
    large = _large_tables() if plan else {}
    return PendingMigrations(
        names=tuple(map(name_of, plan)),
        refused=_find_refused(applied),
        remarks=tuple(remark for migration in plan for remark in _remarks(migration, large)),
        is_new=not applied,
    )


def read_refused() -> RefusedDatabase | None:
    """Return why this code may not migrate the connected database, or None."""
    return _find_refused(MigrationRecorder(connection).applied_migrations())


def _find_refused(applied: Collection[tuple[str, str]]) -> RefusedDatabase | None:
    if (refused := judge_release(applied, "The database")) or _own_apps() <= {app for app, _ in applied}:
        return refused
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)
        tables = {table for (table,) in cursor.fetchall()}
    # What a killed first migration left is ours, and is continued.
    foreign = tables - {
        *connection.introspection.django_table_names(),
        MigrationRecorder.Migration._meta.db_table,
    }
    if not foreign:
        return None
    return RefusedDatabase(
        f"The database holds tables of another application, such as {min(foreign)}.",
        "Name an empty database in DRIFTLINE_DATABASE_URL.",
    )


def judge_release(applied: Collection[tuple[str, str]], subject: str) -> RefusedDatabase | None:
    """Return why migrations are not those of this release or an earlier one; `subject` begins the sentence."""
    if any((app, BASELINE) not in applied for app in _own_apps() & {app for app, _ in applied}):
        return RefusedDatabase(
            f"{subject} was made before release 0.1.0, and cannot be upgraded.",
            "Start with an empty home and an empty database.",
        )
    known = MigrationLoader(None, ignore_no_migrations=True).disk_migrations
    apps_here = {app for app, _ in known}
    newer = [f"{app}.{name}" for app, name in applied if app in apps_here and (app, name) not in known]
    if not newer:
        return None
    return RefusedDatabase(
        f"{subject} is of a later release: this one lacks {count_migrations(len(newer))} of it, such as {newer[0]}.",
        "Install that release, or restore a backup of this one.",
    )


def _own_apps() -> set[str]:
    """Name the apps that have a baseline: those of ours that have tables."""
    ours = (app for app in apps.get_app_configs() if app.name.partition(".")[0] in _PACKAGES)
    return {app.label for app in ours if app.models_module is not None}


def name_of(migration: migrations.Migration) -> str:
    """Write a migration as people name it."""
    return f"{migration.app_label}.{migration.name}"


def _large_tables() -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute(_SIZES)
        return {table: size for table, size in cursor.fetchall() if size >= LARGE_BYTES}


def _remarks(migration: migrations.Migration, large: Mapping[str, int]) -> Iterator[str]:
    """Yield which large tables a migration locks for long, by its kinds of operations."""
    operations = list(_database_operations(migration.operations))
    for table, size in large.items():
        if any(_works_through(operation, table, migration.app_label) for operation in operations):
            yield (
                f"{name_of(migration)} may read or rewrite {table} ({format_bytes(size)}), and locks it meanwhile."
            )
    if any(isinstance(operation, migrations.RunPython) for operation in operations):
        yield f"{name_of(migration)} runs a program: how long it takes, and what it locks, is not known beforehand."


def _database_operations(operations: Sequence[Operation]) -> Iterator[Operation]:
    for operation in operations:
        if isinstance(operation, migrations.SeparateDatabaseAndState):
            yield from _database_operations(operation.database_operations)
        else:
            yield operation


def _works_through(operation: Operation, table: str, app: str) -> bool:
    if isinstance(operation, migrations.RunSQL):
        return table in str(operation.sql)
    model = getattr(operation, "model_name", None) or getattr(operation, "name", "")
    return f"{app}_{model}".lower() == table and (
        isinstance(operation, _ON_EVERY_ROW) or _adds_index_or_key(operation)
    )


def _adds_index_or_key(operation: Operation) -> bool:
    if not isinstance(operation, migrations.AddField):
        return False
    field = operation.field
    return getattr(field, "db_index", False) or field.unique or field.remote_field is not None
