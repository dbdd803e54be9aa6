"""`manage.py upgrade` from this release to the next: what it says, what it refuses, and kills on its way.

`DRIFTLINE_TEST_UPGRADE_KILLS` sets how often the command is killed, `DRIFTLINE_TEST_UPGRADE_SEED` after which lines.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.db import connection, migrations
from django.db.migrations.recorder import MigrationRecorder
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import AuditEntry, Project
from driftline.base.work.advisory_locks import AdvisoryLock, session_lock
from driftline.operations.backup.manifest import read_manifest
from driftline.operations.services.paths import home_paths
from driftline.operations.upgrade import pending
from driftline.operations.upgrade.upgrading import NotUpgraded
from driftline.operations.upgrade.upgrading import upgrade as upgrade_here
from tests.embedded import CHECKOUT, subprocess_environment
from tests.small_disk import mounted_disk
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, truths
from tests.worlds.databases import database_of_its_own
from tests.worlds.next_release import MIGRATIONS, SETTINGS

pytestmark = pytest.mark.e2e  # they start the command, and kill it

KILLS = int(os.environ.get("DRIFTLINE_TEST_UPGRADE_KILLS", 3))
SEED = int(os.environ.get("DRIFTLINE_TEST_UPGRADE_SEED", 1))
_SCHEMA = """
    SELECT 'column', table_name, concat_ws(' ', column_name, data_type, is_nullable, column_default)
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT 'index', tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT 'constraint', conrelid::regclass::text, concat_ws(' ', conname, pg_get_constraintdef(oid))
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT 'trigger', tgrelid::regclass::text, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'migration', app, name FROM django_migrations
    ORDER BY 1, 2, 3
"""
_END_UPGRADE = f"""
    SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE locktype = 'advisory' AND objid = {AdvisoryLock.UPGRADE} AND datname = current_database()
"""


@pytest.fixture(scope="module")
def this_release(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """A database of this release with a model, predictions and labels; others are copies of it."""
    with django_db_blocker.unblock(), database_of_its_own("driftline_of_this_release") as name:
        call_command("migrate", interactive=False, verbosity=0)
        model = make_model(Project.objects.create(slug="bank", name="Bank"))
        rows = rows_of_a_day(DAY, 20)
        log(model, rows)
        label(model, truths(rows))
        connection.close()  # a database in use is not copied
        yield name


@pytest.fixture(scope="module")
def next_schema(this_release: str, django_db_blocker: DjangoDbBlocker) -> list[Any]:
    with django_db_blocker.unblock(), database_of_its_own("driftline_of_the_next_release", this_release):
        with override_settings(MIGRATION_MODULES=MIGRATIONS):
            call_command("migrate", interactive=False, verbosity=0)
        return read(_SCHEMA)


@pytest.fixture
def database(this_release: str, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock(), database_of_its_own("driftline_to_upgrade", this_release):
        yield


@pytest.fixture
def empty_database(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock(), database_of_its_own("driftline_of_somebody"):
        yield


def environment(home: Path) -> dict[str, str]:
    return subprocess_environment() | {
        "DRIFTLINE_HOME": str(home),
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "PYTHONUNBUFFERED": "1",
    }


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(CHECKOUT / "manage.py"), *arguments]


def manage(home: Path, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env=environment(home) | changed, capture_output=True, text=True, check=False
    )


def upgrade(home: Path, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
    return manage(home, "upgrade", *arguments, **changed)


def start(home: Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command("upgrade", "--no-backup"),
        env=environment(home),
        stdout=pipe,
        stderr=pipe,
        text=True,
        bufsize=1,
    )


def output_of(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    return iter(process.stdout.readline, "")


def read(sql: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def stored_rows() -> list[Any]:
    return [
        read("SELECT prediction_id, role, event_time, body_hash FROM inference_predictionrow ORDER BY 1, 2"),
        read("SELECT given_id, revision, value FROM inference_label ORDER BY 1, 2"),
        read("SELECT number, action, hash FROM accounts_auditentry WHERE action = 'model.create'"),
    ]


def look_up_what_is_missing(apps: Any, schema_editor: Any) -> None:
    raise KeyError("missing")


@pytest.mark.usefixtures("database")
class TestUpgrade:
    def test_says_beforehand_what_is_pending_and_changes_nothing(self, tmp_path: Path) -> None:
        schema = read(_SCHEMA)

        looked = upgrade(tmp_path, "--check")

        assert looked.returncode == 1, looked.stderr
        first, remark, _ = looked.stdout.splitlines()
        assert first == "6 migrations to apply: 6 of inference."
        assert remark.startswith("inference.0003_fill_notes runs a program")
        assert read(_SCHEMA) == schema
        assert not (tmp_path / "backups").exists()

    def test_backs_up_migrates_and_says_what_changed(self, tmp_path: Path) -> None:
        before = stored_rows()

        done, again = upgrade(tmp_path), upgrade(tmp_path, "--check")

        assert done.returncode == 0, done.stderr
        [folder] = (tmp_path / "backups").iterdir()
        assert read_manifest(folder).migrations["inference"] == ["0001_initial"]
        assert "Applied 6 migrations in" in done.stdout
        assert f"{folder} holds everything as it was before this run." in done.stdout
        assert "Restart what you start apart" in done.stdout
        assert (again.returncode, again.stdout.strip()) == (
            0,
            "Nothing is to be applied: the database is of this release.",
        )
        assert stored_rows() == before
        backup, entry = AuditEntry.objects.order_by("pk").filter(
            action__in=["backup.made", "upgrade.applied"]
        )
        assert (backup.action, backup.subject) == ("backup.made", str(folder))
        assert (entry.action, entry.subject) == ("upgrade.applied", "6 migrations")
        assert len(entry.after["migrations"]) == 6
        assert entry.after["backup"] == str(folder)

    def test_is_continued_after_kills_and_ends_as_if_there_were_none(
        self, tmp_path: Path, next_schema: list[Any]
    ) -> None:
        before, drawn = stored_rows(), Random(SEED)
        print(f"DRIFTLINE_TEST_UPGRADE_SEED={SEED}")
        for _ in range(KILLS):
            killed = start(tmp_path)
            for _ in islice(output_of(killed), drawn.randint(2, 6)):  # most lines are an applied migration
                pass
            killed.kill()
            killed.communicate()

        ended = upgrade(tmp_path, "--no-backup")

        assert ended.returncode == 0, ended.stderr
        assert stored_rows() == before
        assert read(_SCHEMA) == next_schema

    def test_lets_others_pass_while_a_table_is_in_use(self, tmp_path: Path) -> None:
        reader = connection.copy()
        with reader.cursor() as cursor:
            cursor.execute("BEGIN; SELECT count(*) FROM inference_model")  # its transaction stays open
        upgrading = start(tmp_path)

        line = next(line for line in output_of(upgrading) if line.startswith("A table is in use"))
        written = read("UPDATE inference_model SET name = name RETURNING name")
        pid = reader.connection.info.backend_pid
        reader.close()
        rest, _ = upgrading.communicate()

        assert f"session {pid} of the database has a transaction open" in line
        assert written == [("approvals",)]
        assert "Applied " in rest
        assert upgrading.returncode == 0

    def test_says_what_is_kept_where_the_database_goes_away(self, tmp_path: Path) -> None:
        reader = connection.copy()
        with reader.cursor() as cursor:
            cursor.execute("BEGIN; SELECT count(*) FROM inference_model")  # its transaction stays open
        upgrading = start(tmp_path)
        next(line for line in output_of(upgrading) if line.startswith("A table is in use"))

        read(_END_UPGRADE)
        _, stopped = upgrading.communicate()
        reader.close()

        assert upgrading.returncode == 2
        assert "was not applied, and nothing of it is kept." in stopped
        assert "Run `manage.py upgrade` again to continue." in stopped
        assert "Traceback" not in stopped

    def test_says_and_records_what_is_kept_where_a_migration_raises(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: LazySettings
    ) -> None:
        settings.HOME, settings.DATABASE_URL = tmp_path, subprocess_environment()["DRIFTLINE_DATABASE_URL"]
        settings.MIGRATION_MODULES = MIGRATIONS
        broken = import_module(f"{MIGRATIONS['inference']}.0005_ratings").Migration
        monkeypatch.setattr(broken, "operations", [migrations.RunPython(look_up_what_is_missing)])
        folder = tmp_path / "backups" / "first"

        with pytest.raises(NotUpgraded) as stopped:
            upgrade_here(home_paths(tmp_path), folder, print)

        name = "inference.0005_ratings"
        assert str(stopped.value).startswith(f"{name} was not applied, and nothing of it is kept.")
        assert f"again to continue; {folder} holds everything as it was before this run." in str(
            stopped.value
        )
        assert str(stopped.value).endswith("What stopped it: KeyError: 'missing'")
        backup, entry = AuditEntry.objects.order_by("pk").filter(
            action__in=["backup.made", "upgrade.applied"]
        )
        assert (backup.action, backup.subject) == ("backup.made", str(folder))
        assert (entry.action, entry.after["stopped_at"]) == ("upgrade.applied", name)
        assert entry.after["migrations"][-1] == "inference.0004_models_by_note"

    def test_content_types_follow_a_renamed_model(self, tmp_path: Path) -> None:
        [(number,)] = read(
            "INSERT INTO django_content_type (app_label, model) VALUES ('inference', 'rating') RETURNING id"
        )

        done = upgrade(tmp_path, "--no-backup")

        assert done.returncode == 0, done.stderr
        assert read(f"SELECT model FROM django_content_type WHERE id = {number}") == [("review",)]

    def test_names_what_works_through_a_large_table(
        self, monkeypatch: pytest.MonkeyPatch, settings: LazySettings
    ) -> None:
        settings.MIGRATION_MODULES = MIGRATIONS
        monkeypatch.setattr(pending, "LARGE_BYTES", 1)

        remarks = pending.read_pending().remarks

        assert any(
            remark.startswith("inference.0004_models_by_note may read or rewrite inference_model (")
            for remark in remarks
        )

    def test_refuses_beside_another_upgrade(self, tmp_path: Path) -> None:
        with session_lock(AdvisoryLock.UPGRADE) as is_held:
            refused = upgrade(tmp_path)

        assert is_held
        assert refused.returncode == 2
        assert "Another upgrade of this database is running" in refused.stderr

    def test_refuses_a_database_of_a_later_release(self, tmp_path: Path) -> None:
        MigrationRecorder(connection).record_applied("inference", "9999_later")

        refused = upgrade(tmp_path)

        assert refused.returncode == 2
        assert "lacks 1 migration of it, such as inference.9999_later" in refused.stderr

    def test_refuses_a_database_from_before_the_baseline(self, tmp_path: Path) -> None:
        read("UPDATE django_migrations SET name = '0001_first' WHERE app = 'monitors' RETURNING id")
        schema = read(_SCHEMA)

        for refused in (upgrade(tmp_path), manage(tmp_path, "migrate", "--no-input")):
            assert refused.returncode != 0
            assert "The database was made before release 0.1.0, and cannot be upgraded." in refused.stderr
            assert "Traceback" not in refused.stderr
        assert read(_SCHEMA) == schema
        assert not (tmp_path / "backups").exists()

    def test_refuses_where_the_database_is_away(self, tmp_path: Path) -> None:
        refused = upgrade(tmp_path, DRIFTLINE_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")

        assert refused.returncode == 2
        assert "database: no answer" in refused.stderr
        assert "point DRIFTLINE_DATABASE_URL at a server that runs" in refused.stderr

    def test_refuses_a_home_that_was_never_started(self, tmp_path: Path) -> None:
        refused = upgrade(tmp_path, DRIFTLINE_DATABASE_URL="")

        assert refused.returncode == 2
        assert "holds nothing yet: `manage.py up` makes it" in refused.stderr
        assert not (tmp_path / "postgres").exists()

    def test_refuses_a_disk_that_the_backup_would_fill(self, tmp_path: Path) -> None:
        with mounted_disk(tmp_path, "64k") as disk:
            refused = upgrade(tmp_path / "home", "--backup", str(disk / "backup"))
            held = list(disk.iterdir())

        assert refused.returncode == 2
        assert "name a folder on another disk with --backup" in refused.stderr
        assert held == []


@pytest.mark.usefixtures("empty_database")
class TestMigrate:
    def test_refuses_a_database_of_another_application(self, tmp_path: Path) -> None:
        read("CREATE TABLE shop_order (id bigint); SELECT 1")

        refused = manage(tmp_path, "migrate", "--no-input")

        assert refused.returncode == 1
        assert "The database holds tables of another application, such as shop_order." in refused.stderr
        assert "Traceback" not in refused.stderr
        assert read("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [
            ("shop_order",)
        ]

    def test_continues_where_the_first_one_was_killed(self, tmp_path: Path) -> None:
        call_command("migrate", "accounts", interactive=False, verbosity=0)

        done = manage(tmp_path, "migrate", "--no-input")

        assert done.returncode == 0, done.stderr
        assert pending.read_pending().names == ()
