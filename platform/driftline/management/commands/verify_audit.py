import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from driftline.base.accounts.audit.chain import (
    FIRST_HASH,
    ChainHead,
    check_chain,
    read_anchor,
    seal_entries,
    write_anchor,
)
from driftline.base.accounts.services import record_audit


class Command(BaseCommand):
    help = (
        "Computes the hash chain of the audit trail anew; ends with 1 and names the first entry that was changed or "
        "removed since it was written."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--expect",
            metavar="NUMBER:HASH",
            help="the newest entry as this command printed it before, noted elsewhere; it must still be there",
        )
        parser.add_argument(
            "--accept-restored",
            action="store_true",
            help="after a restored backup: take the end of the trail as it is for the right one, and record that",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        expected = _head(options["expect"]) if options["expect"] else None
        if options["accept_restored"]:
            _accept()
        report = check_chain(settings.HOME, expected=expected)
        counts = f"{report.entries:,} entries, {report.sealed:,} sealed, {report.redacted:,} redacted"
        if report.broken:
            self.stdout.write(f"BROKEN: {report.broken}; {counts}.")
            sys.exit(1)
        newest = f"{report.head.number}:{report.head.hash}"
        self.stdout.write(f"The audit trail is whole: {counts}; the newest is {newest}.")


def _head(text: str) -> ChainHead:
    number, _, digest = text.partition(":")
    if not number.isdecimal() or len(digest) != len(FIRST_HASH):
        raise CommandError(f"--expect is {text!r}; use the number and hash that this command printed.")
    return ChainHead(int(number), digest)


def _accept() -> None:
    """Record that the chain ends earlier than this home knew, and make its present end the one that the home knows."""
    before = read_anchor(settings.HOME)
    with transaction.atomic():
        record_audit(
            project=None,
            actor="command line",
            action="audit.accept_restored",
            subject="audit trail",
            before={"number": before.number, "hash": before.hash} if before else None,
        )
    seal_entries()
    report = check_chain(settings.HOME)
    write_anchor(settings.HOME, report.head)
