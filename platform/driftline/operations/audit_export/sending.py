"""The loop that sends audit entries to one receiver, whatever happens to it and to the database meanwhile.

One process at a time sends, by a lease. Where the receiver is, by the number in the chain, is written after it has a
batch, and only under the lease: a process that is killed in between has the next one send that batch again, and one
that lost its lease moves nothing.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from django.db import InterfaceError, OperationalError, close_old_connections, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Coalesce, Now

from driftline.base.accounts.models import AuditEntry, AuditExport, AuditReceiver
from driftline.base.accounts.services import record_audit
from driftline.base.work.lease import Lease, LeaseLost
from driftline.base.work.leased_work import shortened
from driftline.operations.audit_export.configured import configured_receivers
from driftline.operations.audit_export.receivers import NotReceived, Rejected, SendsRecords
from driftline.operations.audit_export.records import AuditRecord

log = logging.getLogger(__name__)

MAX_ENTRIES, MAX_CHANGES_BYTES = 200, 2 << 20
"""Of a batch; an entry with more changes is a batch of its own."""
IDLE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 60.0
DATABASE_ERRORS = (OperationalError, InterfaceError)


@dataclass(frozen=True)
class ExportLease(Lease[AuditExport]):
    """The right to send to one receiver; another process takes over soon after a death."""

    LENGTH: ClassVar[timedelta] = timedelta(seconds=20)
    RENEWAL_SECONDS: ClassVar[float] = 5.0


def exports_to_send() -> QuerySet[AuditExport]:
    """Return the rows of receivers that the settings name and nobody sends to, making those that are missing.

    A new receiver begins with the first entry of the trail.
    """
    kinds = list(configured_receivers())
    known = set(AuditExport.objects.filter(receiver__in=kinds).values_list("receiver", flat=True))
    AuditExport.objects.bulk_create(
        [AuditExport(receiver=kind) for kind in kinds if kind not in known], ignore_conflicts=True
    )
    return AuditExport.objects.filter(receiver__in=kinds).due().order_by("pk")


def send_export(pk: int, stop: threading.Event) -> None:
    """Send to a receiver until `stop` is set, unless another process does or the settings name it no more."""
    try:
        receiver = configured_receivers().get(AuditReceiver(AuditExport.objects.get(pk=pk).receiver))
        lease = claim_export(pk) if receiver else None
    except DATABASE_ERRORS:
        close_old_connections()
        return
    if receiver and lease:
        AuditSender(lease, receiver, stop).run()


def claim_export(pk: int) -> ExportLease | None:
    """Take the right to send to a receiver; None where another process has it."""
    with transaction.atomic():
        claimed = AuditExport.objects.filter(pk=pk).claim(limit=1, lease=ExportLease.LENGTH)
    return ExportLease(AuditExport, pk, claimed[0].lease_token or 0) if claimed else None


class AuditSender:
    """Sends to one receiver under a lease. `run` goes on until `stop` is set or the lease is another's."""

    def __init__(self, lease: ExportLease, receiver: SendsRecords, stop: threading.Event) -> None:
        self._lease, self._receiver, self._stop = lease, receiver, stop
        self._pause = IDLE_SECONDS
        self._max_entries = MAX_ENTRIES

    def run(self) -> None:
        """Send what waits, and what comes."""
        try:
            with self._lease.renewed():
                while not (self._stop.is_set() or self._lease.lost.is_set()):
                    if not self._try():
                        self._stop.wait(self._pause)
            self._lease.release()
        except LeaseLost:
            log.info("audit entries are sent by another process now")
        except DATABASE_ERRORS:
            close_old_connections()

    def _try(self) -> bool:
        """Send one batch, or note why not; False where a pause is due."""
        try:
            has_sent = self.send_batch()
        except NotReceived as reason:
            return self._fail(str(reason))
        except DATABASE_ERRORS:
            log.warning("the database is away; audit entries wait")
            close_old_connections()
            return False
        except LeaseLost:
            raise
        except Exception as error:  # the outermost edge of a thread: nobody else would say what happened
            log.exception("audit entries could not be sent")
            return self._fail(f"Driftline could not send ({type(error).__name__}); its log says more.")
        self._pause = IDLE_SECONDS
        return has_sent

    def _fail(self, reason: str) -> bool:
        self._pause = min(2 * self._pause, MAX_PAUSE_SECONDS)
        try:
            self._lease.write(error=shortened(reason), failing_since=Coalesce("failing_since", Now()))
        except DATABASE_ERRORS:
            close_old_connections()
        return False

    def send_batch(self) -> bool:
        """Send what comes next, and note that the receiver has it; False where nothing waits.

        A batch that the receiver rejects is halved, so that in the end one entry alone waits, and is named.
        Raises NotReceived, LeaseLost.
        """
        position = self._lease.read().position
        records = next_records(position, self._max_entries)
        if not records:
            return False
        try:
            self._receiver.send(records)
        except Rejected as rejection:
            self._max_entries = max(len(records) // 2, 1)
            if len(records) > 1:
                return True
            raise NotReceived(f"entry {records[0].number}: {rejection}") from rejection
        self._max_entries = min(2 * self._max_entries, MAX_ENTRIES)
        with self._lease.fenced() as row:
            if row.position == position:  # else somebody chose another place to go on from meanwhile
                AuditExport.objects.filter(pk=row.pk).update(
                    position=records[-1].number, sent=F("sent") + len(records), sent_at=Now(),
                    error="", failing_since=None,
                )  # fmt: skip
        return True


def next_records(position: int, max_entries: int) -> Sequence[AuditRecord]:
    """Read the entries that follow a number in the chain, as many as a batch has and no more than `max_entries`."""
    records, size = list[AuditRecord](), 0
    rows = AuditEntry.objects.filter(number__gt=position).order_by("number")[:max_entries]
    for entry in rows.iterator(chunk_size=20):
        record = AuditRecord.of(entry)
        size += len(record.changes)
        if records and size > MAX_CHANGES_BYTES:
            break
        records.append(record)
    return records


@transaction.atomic
def continue_after(*, receiver: AuditReceiver, number: int, actor: str) -> None:
    """Send to a receiver what follows this number in the chain next, again or without what is between."""
    row, _ = AuditExport.objects.select_for_update().get_or_create(receiver=receiver)
    before, row.position = row.position, number
    row.save(update_fields=["position"])
    record_audit(
        project=None, actor=actor, action="audit.export_position", subject=receiver.value,
        before={"number": before}, after={"number": number},
    )  # fmt: skip
