from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from driftline.backup.manifest import NoBackup, read_manifest
from driftline.common.byte_sizes import format_bytes
from driftline.services.wal_archive import logs_of, unneeded


class Command(BaseCommand):
    help = "Deletes archived write-ahead log from before a backup, which only earlier backups need; keeps the models."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "folder", type=Path, help="the oldest backup with which moments are still to be restored"
        )
        parser.add_argument("--dry-run", action="store_true", help="count what would go, and delete nothing")

    def handle(self, *args: Any, folder: Path, dry_run: bool, **options: Any) -> None:
        archive = settings.WAL_ARCHIVE
        if archive is None or not archive.is_dir():
            raise CommandError("Set DRIFTLINE_WAL_ARCHIVE to the folder of the archive.")
        try:
            base = read_manifest(folder.absolute()).base
        except NoBackup as error:
            raise CommandError(str(error)) from error
        if base is None:
            raise CommandError(f"{folder} was made while no log was archived; name a backup that needs some.")
        if not (archive / base.log).is_dir():
            raise CommandError(f"{archive} has no log of {folder}; name a backup of this installation.")
        count = size = 0
        for path in unneeded(archive, log=base.log, first=base.first_segment):
            count, size = count + 1, size + path.stat().st_size
            if not dry_run:
                path.unlink()
        if not dry_run:
            _remove_empty(archive, base.log)
        acted = "would be" if dry_run else "were"
        self.stdout.write(f"{count:,} files of the log, {format_bytes(size)}, {acted} deleted.")


def _remove_empty(archive: Path, log: str) -> None:
    """Remove the folders of logs that began before, which hold nothing any more."""
    for folder in logs_of(archive):
        if folder.name < log and not any(folder.iterdir()):
            folder.rmdir()
