import shlex
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from driftline.base.byte_sizes import format_bytes
from driftline.operations.backup.making import NotMade, make_backup


class Command(BaseCommand):
    help = "Backs up database, files and keys into a new folder, while Driftline runs or is stopped."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, help="the folder to make, such as /backups/2026-11-29")
        parser.add_argument(
            "--keys",
            type=Path,
            help="a folder for the keys, apart from what they open (default: beside the rest)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        folder = options["folder"].absolute()
        try:
            manifest = make_backup(folder, options["keys"] and options["keys"].absolute(), self.stdout.write)
        except NotMade as error:
            raise CommandError(str(error)) from error
        keys = ["--keys", str(options["keys"].absolute())] if options["keys"] else []
        command = shlex.join(["manage.py", "restore", str(folder), *keys])
        self.stdout.write(
            f"{folder} holds everything up to {manifest.moment}: {sum(manifest.rows.values()):,} rows of "
            f"{len(manifest.rows)} tables, {format_bytes(manifest.bytes)}. `{command}` restores it."
            + (
                " With --until it restores any later moment, once its log is archived."
                if manifest.base
                else ""
            )
        )
