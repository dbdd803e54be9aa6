"""What a restore to a moment says of the time between the backup and the moment."""

from datetime import timedelta

import pytest

from driftline.accounts.models import AuditEntry, Project
from driftline.backup.base import describe_replayed
from driftline.common.clock import now
from driftline.key_rotation import ROTATED
from inference.prediction_log.erasure.models import Erasure

pytestmark = pytest.mark.django_db


def test_nothing_is_said_where_the_files_of_the_backup_still_fit() -> None:
    assert list(describe_replayed(now())) == []


def test_keys_that_were_rotated_are_asked_for() -> None:
    AuditEntry.objects.create(actor="command line", action=ROTATED, subject="secret_key")

    [remark] = describe_replayed(now() - timedelta(hours=1))

    assert "cannot be opened with those in it" in remark


def test_what_was_erased_is_to_be_erased_again() -> None:
    project = Project.objects.create(slug="bank", name="Bank")
    Erasure.objects.create(project=project, finished_at=now())

    [remark] = describe_replayed(now() - timedelta(hours=1))

    assert "erase them again" in remark
