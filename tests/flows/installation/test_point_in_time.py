"""A home is brought to any moment since a backup from the archived log of its embedded database, or not touched at all.

`DRIFTLINE_TEST_BACKUP_KILLS` sets how often a backup and a restore are killed.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from driftline.demo.wire import HttpConnection
from driftline.operations.backup.manifest import Base, read_manifest
from driftline.operations.services.paths import home_paths
from driftline.operations.services.postgres import SUPERUSER, postgres_child
from driftline.operations.services.wal_archive import log_name, segments_of
from tests.embedded import launch
from tests.flows.installation.clients import Asking, AskingWithKey, Logging, infer_body, request
from tests.flows.installation.conftest import Tell
from tests.flows.installation.ledger import everybody
from tests.flows.installation.running import MANAGE, Installation, make_model
from tests.ports import free_port
from tests.small_disk import mounted_disk, resize_disk
from tests.waiting import wait_until

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

KILLS = int(os.environ.get("DRIFTLINE_TEST_BACKUP_KILLS", 1))
CLIENTS = (Asking, AskingWithKey, Logging)
BEFORE, AFTER = "before", "after"
STEPS = ("postgres/recovery.signal", "restore.unfinished", "postgres/postmaster.pid")
"""What a restore has made by the step at which it is killed: the base, the mark, the server that replays."""


@dataclass(frozen=True)
class History:
    """What happened to an installation that archives its log: a backup, rows of a new model, a moment, more of both."""

    installation: Installation
    backup: Path
    archive: Path
    moment: str
    model_id: int
    stored_before: set[str]
    sent_after: set[str]

    @property
    def log(self) -> Path:
        return self.archive / base_of(self.backup).log


def base_of(backup: Path) -> Base:
    base = read_manifest(backup).base
    assert base is not None
    return base


def archiving(home: Path, archive: Path) -> Installation:
    made = Installation(home, free_port())
    made.environment["DRIFTLINE_WAL_ARCHIVE"] = str(archive)
    return made


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    folder = tmp_path_factory.mktemp("history")
    archive, backup = folder / "archive", folder / "backup"
    archive.mkdir()
    installation = archiving(folder / "home", archive)
    installation.start()
    try:
        for command in (["backup", str(backup)], ["rotate_key", "endpoint_key"]):
            done = installation.manage(*command)
            assert done.returncode == 0, done.stderr
        model_id = make_model(installation, BEFORE)
        with everybody(installation, BEFORE) as load:
            load.await_more(40)
            stored_before = set(installation.stored(model_id))
            moment = now_of(installation)
            load.await_more(40)  # what was on its way at the moment is acknowledged by then
            acknowledged = set(load.ledger(*CLIENTS).acknowledged)
            load.await_more(40)
        sent_after = set(load.ledger(*CLIENTS).acknowledged) - acknowledged
        make_model(installation, AFTER)
        installation.stop()
        yield History(installation, backup, archive, moment, model_id, stored_before, sent_after)
    finally:
        installation.end()


def now_of(installation: Installation) -> str:
    [(moment,)] = installation.query(
        "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    )
    return str(moment)


@pytest.fixture
def empty(history: History, tmp_path: Path) -> Iterator[Installation]:
    """A home that holds nothing yet, with the same archive."""
    made = archiving(tmp_path / "restored", history.archive)
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def copied(history: History, empty: Installation, tmp_path: Path) -> Path:
    """A copy of the log that may be damaged, in the archive of the empty home."""
    copy = tmp_path / "archive" / history.log.name
    shutil.copytree(history.log, copy)
    empty.environment["DRIFTLINE_WAL_ARCHIVE"] = str(copy.parent)
    return copy


def models(installation: Installation) -> set[str]:
    return {name for (name,) in installation.query("SELECT name FROM inference_model")}


def status_of(installation: Installation, model: str) -> int:
    """Ask a model once."""
    with closing(HttpConnection("127.0.0.1", installation.port)) as connection:
        body = infer_body([0.5, 1.0, -1.0, 0.0])
        connection.write(request(installation, f"/v2/models/{model}/infer", body))
        return connection.read_answer().status


def is_untouched(installation: Installation) -> bool:
    return (
        not (installation.home / "postgres").exists()
        and not (installation.home / "restore.unfinished").exists()
    )


def test_what_was_stored_before_the_moment_is_there_and_nothing_that_came_later(
    history: History, empty: Installation, tell: Tell
) -> None:
    restored = empty.manage("restore", str(history.backup), "--until", history.moment)
    assert restored.returncode == 0, restored.stderr
    empty.start()

    stored = empty.stored(history.model_id)
    assert history.stored_before <= stored.keys()
    assert not history.sent_after & stored.keys()
    assert set(stored.values()) == {1}
    assert models(empty) == {BEFORE}
    wait_until(
        lambda: status_of(empty, BEFORE) == 200, what="an answer of the model that came after the backup"
    )
    empty.check_invariants()
    assert "no backup leads to this log" in empty.manage("doctor").stdout
    assert "Keys were rotated after the backup" in restored.stdout
    tell(
        f"{len(history.stored_before)} rows stored before, {len(history.stored_before - stored.keys())} missing; "
        f"{len(history.sent_after)} acknowledged for requests after, {len(history.sent_after & stored.keys())} there"
    )


def test_the_end_of_the_log_has_everything_that_a_stopped_installation_stored(
    history: History, empty: Installation
) -> None:
    restored = empty.manage("restore", str(history.backup), "--until", "latest")
    assert restored.returncode == 0, restored.stderr
    empty.start()

    assert history.stored_before | history.sent_after <= empty.stored(history.model_id).keys()
    assert models(empty) == {BEFORE, AFTER}


@pytest.mark.parametrize(
    ("until", "reason"),
    [
        ("2020-01-01T00:00Z", "name a later one, or an earlier backup"),
        ("2100-01-01T00:00Z", "ends before that; it is whole until"),
        ("2026-11-30T12:00", "is no moment; write one such as 2026-11-30T12:00Z, or latest"),
        ("yesterday", "is no moment"),
    ],
)
def test_a_moment_that_the_log_does_not_reach_changes_nothing(
    history: History, empty: Installation, until: str, reason: str
) -> None:
    refused = empty.manage("restore", str(history.backup), "--until", until)

    assert refused.returncode == 1
    assert reason in refused.stderr
    assert is_untouched(empty)


def test_after_the_last_transaction_the_end_of_the_log_is_to_be_named(
    history: History, empty: Installation
) -> None:
    beyond = segments_of(history.log)[-1].written_until - timedelta(microseconds=1)

    refused = empty.manage("restore", str(history.backup), "--until", beyond.isoformat())
    restored = empty.manage("restore", str(history.backup), "--until", "latest")

    assert "is as late as" in refused.stderr
    assert "or --until latest" in refused.stderr
    assert "lies in a folder before-restore-" in refused.stderr
    assert restored.returncode == 0, restored.stderr


def test_a_missing_segment_changes_nothing(history: History, empty: Installation, copied: Path) -> None:
    first = base_of(history.backup).first_segment
    (copied / f"{first}.gz").unlink()

    refused = empty.manage("restore", str(history.backup), "--until", "latest")

    assert f"lacks segment {first}" in refused.stderr
    assert is_untouched(empty)


def test_a_cut_segment_changes_nothing(history: History, empty: Installation, copied: Path) -> None:
    last = segments_of(copied)[-1].path
    last.write_bytes(last.read_bytes()[:-50])

    refused = empty.manage("restore", str(history.backup), "--until", "latest")

    assert f"{last} is cut or changed" in refused.stderr
    assert is_untouched(empty)


def test_a_damaged_base_changes_nothing(history: History, empty: Installation, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(history.backup, damaged)
    base = damaged / "base/base.tar.gz"
    base.write_bytes(base.read_bytes()[:-100])

    refused = empty.manage("restore", str(damaged), "--until", "latest")
    without = empty.manage("restore", str(damaged))

    assert "it was cut or changed" in refused.stderr
    assert without.returncode == 0, without.stderr


def test_without_the_archive_only_the_moment_of_the_backup_is_restored(
    history: History, empty: Installation
) -> None:
    del empty.environment["DRIFTLINE_WAL_ARCHIVE"]

    refused = empty.manage("restore", str(history.backup), "--until", history.moment)
    without = empty.manage("restore", str(history.backup))

    assert "Set DRIFTLINE_WAL_ARCHIVE" in refused.stderr
    assert without.returncode == 0, without.stderr


def test_a_home_in_use_is_put_aside_only_when_asked(history: History, empty: Installation) -> None:
    (empty.home / "artifacts").mkdir(parents=True)
    (empty.home / "artifacts/model.onnx").write_bytes(b"precious")

    refused = empty.manage("restore", str(history.backup), "--until", history.moment)
    replaced = empty.manage("restore", str(history.backup), "--until", history.moment, "--replace")

    assert "is in use" in refused.stderr
    assert replaced.returncode == 0, replaced.stderr
    [aside] = empty.home.glob("before-restore-*")
    assert (aside / "artifacts/model.onnx").read_bytes() == b"precious"


def test_a_restore_that_was_killed_begins_again(history: History, tmp_path: Path) -> None:
    for number in range(KILLS):
        target = archiving(tmp_path / f"home-{number}", history.archive)
        command = ["restore", str(history.backup), "--until", history.moment]
        killed = start(target, *command)
        step = target.home / STEPS[number % len(STEPS)]
        wait_until(step.exists, what=f"a restore with {step}")
        target.send(signal.SIGKILL, [found.pid for found in target.processes()])
        killed.wait()
        mark = target.home / "restore.unfinished"
        assert mark.exists()
        assert f"manage.py {' '.join(command)}" in target.manage("up").stderr

        again = target.manage(*command)

        assert again.returncode == 0, again.stderr
        assert not mark.exists()


def test_a_server_that_a_killed_command_left_writes_to_nothing_that_is_restored(
    history: History, empty: Installation
) -> None:
    command = ["restore", str(history.backup), "--until", history.moment]
    assert empty.manage(*command).returncode == 0
    paths = home_paths(empty.home)
    left = launch(postgres_child(paths), paths)
    left.wait_ready()

    again = empty.manage(*command, "--replace")

    assert again.returncode == 0, again.stderr
    assert left.exit_code() is not None


def test_killed_backups_leave_none_that_looks_whole(history: History, tmp_path: Path) -> None:
    for number in range(KILLS):
        folder = tmp_path / f"killed-{number}"
        killed = start(history.installation, "backup", str(folder))
        draft = folder.with_name(f"{folder.name}.unfinished")
        wait_until(lambda: (draft / "base").exists() or killed.poll() is not None, what="the base")  # noqa: B023
        history.installation.send(signal.SIGKILL, [found.pid for found in history.installation.processes()])
        killed.wait()
        assert not folder.exists()

        again = history.installation.manage("backup", str(folder))
        assert again.returncode == 0, again.stderr
        assert base_of(folder)


def start(installation: Installation, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, str(MANAGE), *arguments],
        env=installation.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_log_of_before_the_oldest_backup_is_deleted_and_that_still_leads_to_later_moments(
    history: History, empty: Installation, copied: Path
) -> None:
    owner = archiving(history.installation.home, copied.parent)

    counted = owner.manage("expire_wal", str(history.backup), "--dry-run")
    before = segments_of(copied)
    deleted = owner.manage("expire_wal", str(history.backup))
    restored = empty.manage("restore", str(history.backup), "--until", history.moment)

    assert counted.stdout.replace("would be", "were") == deleted.stdout
    assert deleted.returncode == 0, deleted.stderr
    assert 0 < len(segments_of(copied)) < len(before)
    assert restored.returncode == 0, restored.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted_disk(tmp_path, "64k") as disk:
        yield disk


def test_a_full_archive_stops_nobody_and_gets_the_log_when_it_has_room(
    small_disk: Path, tmp_path: Path
) -> None:
    installation = archiving(tmp_path / "home", small_disk)
    installation.start()
    try:
        installation.query("SELECT pg_switch_wal()", user=SUPERUSER)
        wait_until(
            lambda: installation.query("SELECT 1 FROM pg_stat_archiver WHERE failed_count > 0"),
            what="a failure",
        )
        make_model(installation, "served")
        doctor = installation.manage("doctor").stdout
        backup = installation.manage("backup", str(tmp_path / "backup"))
        resize_disk(small_disk, "256m")
        installation.stop()

        assert "MEND  log archive: it fails" in doctor
        assert backup.returncode == 0, backup.stderr
        assert segments_of(small_disk / log_name(installation.paths))
        restored = archiving(tmp_path / "restored", small_disk).manage(
            "restore", str(tmp_path / "backup"), "--until", "latest"
        )
        assert restored.returncode == 0, restored.stderr
    finally:
        installation.end()
