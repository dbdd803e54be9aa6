import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Max

from driftline.base.accounts.models import AuditEntry, AuditReceiver
from driftline.base.clock import now
from driftline.operations.audit_export.configured import configured_receivers
from driftline.operations.audit_export.receivers import NotReceived, SendsRecords
from driftline.operations.audit_export.selectors import export_statuses
from driftline.operations.audit_export.sending import (
    AuditSender,
    ExportLease,
    claim_export,
    continue_after,
    exports_to_send,
)


class Command(BaseCommand):
    help = (
        "Sends audit entries that wait to the receivers of DRIFTLINE_AUDIT_SYSLOG and DRIFTLINE_AUDIT_OTLP, which "
        "manage.py consume does by itself, and says how far each is; ends with 1 where one does not take them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--after",
            type=int,
            metavar="NUMBER",
            help="go on after this number of the chain: a lower one sends entries again, a higher one leaves some out, "
            "0 begins with the first",
        )
        parser.add_argument(
            "--receiver", choices=AuditReceiver.values, help="this one alone (default: each that is set)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        receivers = {
            kind: receiver
            for kind, receiver in configured_receivers().items()
            if options["receiver"] in (None, kind)
        }
        if not receivers:
            raise CommandError(
                "Set DRIFTLINE_AUDIT_SYSLOG or DRIFTLINE_AUDIT_OTLP to the address of a receiver."
            )
        if options["after"] is not None:
            _move(receivers, options["after"])
        failures = [
            failure for kind, receiver in receivers.items() if (failure := self._send(kind, receiver))
        ]
        for status in export_statuses(now=now()):
            if status.receiver in receivers:
                self.stdout.write(
                    f"{status.receiver} has entries up to {status.position:,}; {status.waiting:,} wait."
                )
        if failures:
            raise CommandError(" ".join(failures))

    def _send(self, kind: AuditReceiver, receiver: SendsRecords) -> str:
        """Send what waits of one receiver; return why that failed, or nothing."""
        row = exports_to_send().filter(receiver=kind).first()
        lease = claim_export(row.pk) if row else None
        if lease is None:
            self.stdout.write(f"Another process sends to {kind} at present.")
            return ""
        try:
            return _send_all(lease, receiver)
        finally:
            lease.release()


def _send_all(lease: ExportLease, receiver: SendsRecords) -> str:
    sender = AuditSender(lease, receiver, threading.Event())
    try:
        with lease.renewed():
            while sender.send_batch():
                pass
    except NotReceived as reason:
        return f"{reason}."
    return ""


def _move(receivers: dict[AuditReceiver, SendsRecords], number: int) -> None:
    newest = AuditEntry.objects.aggregate(number=Max("number"))["number"] or 0
    if not 0 <= number <= newest:
        raise CommandError(f"--after is {number}; use a number from 0 to {newest}, that of the newest entry.")
    for kind in receivers:
        continue_after(receiver=kind, number=number, actor="command line")
