"""Entries of the trail, and what sends them all."""

import threading
from collections.abc import Callable

import pytest

from driftline.base.accounts.audit.chain import seal_entries
from driftline.base.accounts.models import AuditEntry, AuditReceiver, Project
from driftline.base.accounts.services import record_audit
from driftline.operations.audit_export.configured import configured_receivers
from driftline.operations.audit_export.sending import AuditSender, claim_export, exports_to_send

type Record = Callable[[int], list[AuditEntry]]


@pytest.fixture
def record(db: None) -> Record:
    """Make so many entries of a project and seal them."""
    project = Project.objects.create(slug="bank", name="Bank")

    def make(count: int) -> list[AuditEntry]:
        for number in range(count):
            record_audit(
                project=project, actor="ada@bank.example", action="rule.update", subject=f"rule {number}",
                before={"threshold": 0.5, "kept": 1}, after={"threshold": 0.7, "kept": 1},
            )  # fmt: skip
        seal_entries()
        return list(AuditEntry.objects.exclude(number=None).order_by("number"))

    return make


def send_all(kind: AuditReceiver) -> None:
    """Send what waits, under a lease that is given back."""
    lease = claim_export(exports_to_send().get(receiver=kind).pk)
    assert lease
    sender = AuditSender(lease, configured_receivers()[kind], threading.Event())
    try:
        while sender.send_batch():
            pass
    finally:
        lease.release()
