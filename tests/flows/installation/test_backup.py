"""A backup made under load holds what was acknowledged before it, and is restored whole or not at all.

`DRIFTLINE_TEST_BACKUP_KILLS` sets how often each command is killed.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from driftline.base.ids import new_id
from driftline.demo.wire import HttpConnection
from driftline.operations.backup.manifest import read_manifest
from driftline.operations.backup.mark import RestoreMark, write_mark
from tests.flows.installation.clients import Asking, Logging, infer_body, request
from tests.flows.installation.conftest import Tell
from tests.flows.installation.ledger import everybody
from tests.flows.installation.running import MANAGE, Installation, make_model
from tests.ports import free_port
from tests.small_disk import mounted_disk, resize_disk
from tests.waiting import wait_until

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

MODEL = "saved"
KILLS = int(os.environ.get("DRIFTLINE_TEST_BACKUP_KILLS", 1))


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Installation]:
    """A home that holds nothing yet."""
    made = Installation(tmp_path / "restored", free_port())
    try:
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def backup(home_of_its_own: Installation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of the shared installation, for tests that need any."""
    home_of_its_own.start()
    folder = tmp_path_factory.mktemp("backups") / "any"
    made = home_of_its_own.manage("backup", str(folder))
    assert made.returncode == 0, made.stderr
    return folder


def answers(installation: Installation, model: str) -> int:
    """Ask a model once, and give the status."""
    with closing(HttpConnection("127.0.0.1", installation.port)) as connection:
        body = infer_body([0.5, 1.0, -1.0, 0.0])
        connection.write(request(installation, f"/v2/models/{model}/infer", body))
        return connection.read_answer().status


def test_what_was_acknowledged_before_is_there_again(
    installation: Installation, empty: Installation, tmp_path: Path, tell: Tell
) -> None:
    model_id = make_model(installation, MODEL)
    folder = tmp_path / "backup"
    with everybody(installation, MODEL) as load:
        load.await_more(40)
        before = {kind: list(load.ledger(kind).acknowledged) for kind in (Asking, Logging)}
        made = installation.manage("backup", str(folder))
        assert made.returncode == 0, made.stderr
        load.await_more(40)
    manifest = read_manifest(folder)

    restored = empty.manage("restore", str(folder))
    assert restored.returncode == 0, restored.stderr
    empty.start()

    ids = {key for kind in before for key in before[kind]}
    stored = empty.wait_until_stored(model_id, ids)
    assert ids <= stored.keys()
    assert set(stored.values()) == {1}
    assert empty.query("SELECT count(*) FROM inference_label")[0][0] >= manifest.rows["inference_label"]
    wait_until(lambda: answers(empty, MODEL) == 200, what="an answer of the restored model")
    empty.check_invariants()
    assert str(folder) in installation.manage("doctor").stdout
    tell(
        f"{len(ids)} acknowledged before the backup, {len(ids - stored.keys())} missing; {made.stdout.splitlines()[-1]}"
    )


def test_killed_backups_leave_none_that_looks_whole(installation: Installation, tmp_path: Path) -> None:
    for number in range(KILLS):
        folder = tmp_path / f"killed-{number}"
        killed = start(installation, "backup", str(folder))
        time.sleep(random.uniform(0.5, 3.0))  # the moment at which it is killed
        killed.kill()
        killed.wait()
        assert not folder.exists() or read_manifest(folder)

        again = installation.manage("backup", str(tmp_path / f"again-{number}"))
        assert again.returncode == 0, again.stderr
    assert not (installation.home / "backup.unfinished").exists()


def test_killed_restores_are_not_started_and_begin_again(backup: Path, tmp_path: Path, tell: Tell) -> None:
    interrupted = 0
    for number in range(KILLS):
        target = Installation(tmp_path / f"home-{number}", free_port())
        killed = start(target, "restore", str(backup))
        mark = target.home / "restore.unfinished"
        wait_until(lambda: mark.exists() or killed.poll() is not None, what="the restore")  # noqa: B023
        time.sleep(random.uniform(0, 4.0))  # the moment at which it is killed
        target.send(signal.SIGKILL, [found.pid for found in target.processes()])
        killed.wait()
        if mark.exists():
            interrupted += 1
            refused = target.manage("up")
            assert "restore was interrupted" in refused.stderr
            again = target.manage("restore", str(backup))
            assert again.returncode == 0, again.stderr
        assert not mark.exists()
        shutil.rmtree(target.home)
    tell(f"{interrupted} of {KILLS} restores were interrupted, and done by the next")


def start(installation: Installation, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(MANAGE), *arguments],
        env=installation.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_home_in_use_is_put_aside_only_when_asked(backup: Path, empty: Installation) -> None:
    empty.home.mkdir()
    (empty.home / "artifacts").mkdir()
    (empty.home / "artifacts/model.onnx").write_bytes(b"precious")

    refused = empty.manage("restore", str(backup))
    replaced = empty.manage("restore", str(backup), "--replace")

    assert "is in use" in refused.stderr
    assert replaced.returncode == 0, replaced.stderr
    [aside] = empty.home.glob("before-restore-*")
    assert (aside / "artifacts/model.onnx").read_bytes() == b"precious"


def test_a_backup_that_an_upgrade_made_in_the_home_stays_where_it_is(
    backup: Path, empty: Installation
) -> None:
    kept = empty.home / "backups/before-upgrade"
    shutil.copytree(backup, kept)
    (empty.home / "artifacts").mkdir()

    replaced = empty.manage("restore", str(kept), "--replace")
    again = empty.manage("backup", str(empty.home.parent / "again"))

    assert replaced.returncode == 0, replaced.stderr
    assert again.returncode == 0, again.stderr
    assert read_manifest(kept)
    with tarfile.open(empty.home.parent / "again/files.tar") as files:
        assert not [name for name in files.getnames() if name.startswith("backups")]


def test_a_running_installation_is_not_restored_over(installation: Installation, backup: Path) -> None:
    refused = installation.manage("restore", str(backup), "--replace")

    assert "already runs here" in refused.stderr
    with closing(installation.api()) as api:
        assert "items" in api.get("/api/v1/models")


def test_a_damaged_backup_changes_nothing(backup: Path, empty: Installation, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(backup, damaged)
    dump = damaged / "database.dump"
    dump.write_bytes(dump.read_bytes()[:-100])

    cut = empty.manage("restore", str(damaged))
    (damaged / "manifest.json").unlink()
    unfinished = empty.manage("restore", str(damaged))

    assert "it was cut or changed" in cut.stderr
    assert "no finished backup" in unfinished.stderr
    assert list(empty.home.iterdir()) == []


def test_a_backup_of_a_later_release_is_refused(backup: Path, empty: Installation, tmp_path: Path) -> None:
    later = tmp_path / "later"
    shutil.copytree(backup, later)
    manifest = later / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"inference": [', '"inference": ["9999_later",', 1))

    refused = empty.manage("restore", str(later))

    assert "of a later release" in refused.stderr
    assert "inference.9999_later" in refused.stderr


def test_keys_that_are_kept_apart_are_asked_for(
    installation: Installation, empty: Installation, tmp_path: Path
) -> None:
    folder, keys = tmp_path / "data", tmp_path / "safe"
    made = installation.manage("backup", str(folder), "--keys", str(keys))
    assert made.returncode == 0, made.stderr

    without = empty.manage("restore", str(folder))
    left_by_refusal = list(empty.home.iterdir())
    restored = empty.manage("restore", str(folder), "--keys", str(keys))

    assert f"`manage.py restore {folder} --keys {keys}` restores it" in made.stdout
    assert "kept apart" in without.stderr
    assert left_by_refusal == []
    assert not list(empty.home.glob("before-restore-*"))
    assert restored.returncode == 0, restored.stderr
    with tarfile.open(folder / "files.tar") as files:
        assert not [name for name in files.getnames() if name.startswith(("keys", "credentials"))]
    assert (empty.home / "keys/secret_key").read_bytes() == (
        installation.home / "keys/secret_key"
    ).read_bytes()


def test_a_disk_without_room_is_said_and_left_as_it_was(installation: Installation, tmp_path: Path) -> None:
    with mounted_disk(tmp_path, "64k") as disk:
        refused = installation.manage("backup", str(disk / "backup"))

        assert "no room for the backup" in refused.stderr
        assert list(disk.iterdir()) == []


def test_a_restore_that_finds_no_room_says_so_and_is_done_where_there_is_some(
    backup: Path, tmp_path: Path
) -> None:
    with mounted_disk(tmp_path, "24m") as disk:
        target = Installation(disk / "home", free_port())

        refused = target.manage("restore", str(backup))
        resize_disk(disk, "4g")
        done = target.manage("restore", str(backup))

        assert f"There is no room for the restore in {target.home}; free some" in refused.stderr
        assert done.returncode == 0, done.stderr


def test_places_that_would_be_backed_up_themselves_are_refused(
    installation: Installation, backup: Path, tmp_path: Path
) -> None:
    inside = installation.manage("backup", str(installation.home / "backups/../today"))
    taken = tmp_path / "safe"
    taken.mkdir()
    (taken / "today.keys.tar").write_bytes(b"keys of another backup")
    again = installation.manage("backup", str(tmp_path / "today"), "--keys", str(taken))

    assert "name a folder outside it" in inside.stderr
    assert "with the keys of another backup" in again.stderr
    assert (taken / "today.keys.tar").read_bytes() == b"keys of another backup"


def test_an_interrupted_replacement_puts_the_rest_aside_too(backup: Path, empty: Installation) -> None:
    """As where a volume could not be moved: nothing of the home before the restore is deleted."""
    empty.home.mkdir()
    (empty.home / "artifacts").mkdir()
    (empty.home / "artifacts/model.onnx").write_bytes(b"precious")
    write_mark(empty.home, RestoreMark(str(backup), "", "before-restore-x"))

    refused = empty.manage("up")
    restored = empty.manage("restore", str(backup))

    assert f"manage.py restore {backup}" in refused.stderr
    assert restored.returncode == 0, restored.stderr
    assert (empty.home / "before-restore-x/artifacts/model.onnx").read_bytes() == b"precious"


def test_a_backup_is_restored_into_an_external_database(backup: Path, empty: Installation) -> None:
    url = os.environ.get("DRIFTLINE_TEST_EXTERNAL_URL")
    if not url:
        pytest.skip("DRIFTLINE_TEST_EXTERNAL_URL names no server on which a database may be made")
    name = f"restored_{new_id().replace('-', '')}"
    with closing(psycopg2.connect(url)) as server:
        server.autocommit = True
        server.cursor().execute(f"CREATE DATABASE {name}")
        try:
            empty.environment["DRIFTLINE_DATABASE_URL"] = url.rpartition("/")[0] + f"/{name}"
            restored = empty.manage("restore", str(backup))
            again = empty.manage("restore", str(backup), "--replace")
            assert restored.returncode == 0, restored.stderr
            assert "holds tables" in again.stderr
        finally:
            server.cursor().execute(f"DROP DATABASE {name}")
