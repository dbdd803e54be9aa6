from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from driftline.base.clock import now
from driftline.operations.backup.restoring import NotRestored, restore_backup


class Command(BaseCommand):
    help = "Restores what `manage.py backup` made into this home and its database; Driftline must be stopped."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, help="the folder that `manage.py backup` made")
        parser.add_argument("--keys", type=Path, help="where the keys are, if they were kept apart")
        parser.add_argument(
            "--until",
            help="bring the embedded database to this moment after the backup, such as 2026-11-30T12:00Z, or to the "
            "end of what was archived with latest; needs DRIFTLINE_WAL_ARCHIVE",
        )
        parser.add_argument(
            "--replace",
            action="store_true",
            help="put what the home holds aside, in a folder before-restore-... of it, and restore in its place",
        )

        parser.add_argument(
            "--trust",
            action="store_true",
            help="restore a backup without a signature that is known, such as one of an earlier release",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        folder, keys = options["folder"].absolute(), options["keys"]
        try:
            restored = restore_backup(
                folder,
                keys and keys.absolute(),
                replace=options["replace"],
                until=options["until"],
                trust=options["trust"],
                now=now(),
                say=self.stdout.write,
            )
        except NotRestored as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"Restored as of {restored.moment}: {sum(restored.rows.values()):,} rows of {len(restored.rows)} tables. "
            f"{' '.join(restored.remarks)} Start Driftline as before."
        )
