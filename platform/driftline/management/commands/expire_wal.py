from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from driftline.base.byte_sizes import format_bytes
from driftline.operations.backup.expiring import NotExpired, expire_log


class Command(BaseCommand):
    help = "Deletes archived write-ahead log from before a backup, which only earlier backups need; keeps the models."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "folder", type=Path, help="the oldest backup with which moments are still to be restored"
        )
        parser.add_argument("--dry-run", action="store_true", help="count what would go, and delete nothing")

    def handle(self, *args: Any, folder: Path, dry_run: bool, **options: Any) -> None:
        try:
            found = expire_log(folder.absolute(), is_dry=dry_run)
        except NotExpired as error:
            raise CommandError(str(error)) from error
        for log in found.kept:
            self.stdout.write(
                f"{log} is kept: it was still written when the backup was made, or is now. If it is another "
                "installation's, give that an archive of its own; else name a later backup."
            )
        acted = "would be" if dry_run else "were"
        self.stdout.write(f"{found.files:,} files of the log, {format_bytes(found.bytes)}, {acted} deleted.")
