"""What a restore to a moment says of the time between the backup and the moment."""

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from driftline.base.accounts.models import AuditEntry, Project
from driftline.base.clock import now
from driftline.operations.backup.base import LogReplay, add_artifacts, describe_replayed
from driftline.operations.key_rotation import ROTATED
from driftline.operations.services.wal_segment import ARTIFACTS
from inference.prediction_log.erasure.models import Erasure

pytestmark = pytest.mark.django_db


def test_a_model_that_is_damaged_in_the_archive_is_named_and_not_restored(tmp_path: Path) -> None:
    whole, damaged = (hashlib.sha256(content).hexdigest() for content in (b"whole", b"damaged"))
    for digest in (whole, damaged):
        path = tmp_path / "archive" / ARTIFACTS / digest[:2] / f"{digest}.onnx"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"whole")
    replay = LogReplay(tmp_path / "archive/log", "", now(), None)

    [remark] = add_artifacts(replay, tmp_path / "home")

    assert f"{damaged}.onnx was cut or changed" in remark
    assert [path.stem for path in (tmp_path / "home").rglob("*.onnx")] == [whole]


def test_nothing_is_said_where_the_files_of_the_backup_still_fit() -> None:
    assert list(describe_replayed(now())) == []


def test_keys_that_were_rotated_are_asked_for() -> None:
    AuditEntry.objects.create(actor="command line", action=ROTATED, subject="secret_key")

    [remark] = describe_replayed(now() - timedelta(hours=1))

    assert "cannot be opened with those in it" in remark
    assert "both `edge_key` and `edge_successions` of the newer copy" in remark


def test_what_was_erased_is_to_be_erased_again() -> None:
    project = Project.objects.create(slug="bank", name="Bank")
    Erasure.objects.create(project=project, finished_at=now())

    [remark] = describe_replayed(now() - timedelta(hours=1))

    assert "erase them again" in remark
