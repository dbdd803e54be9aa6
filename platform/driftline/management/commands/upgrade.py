import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from driftline.base.clock import now
from driftline.operations.backup.home_files import BACKUPS
from driftline.operations.services.ownership import Owner, current_owner
from driftline.operations.services.paths import HomePaths, home_paths
from driftline.operations.upgrade.pending import count_migrations
from driftline.operations.upgrade.upgrading import NotUpgraded, UpgradeReport, ready_to_upgrade, upgrade

NOTHING = "Nothing is to be applied: the database is of this release."


class Command(BaseCommand):
    help = (
        "Checks, backs up and migrates an installation, which may run on the old code, and says what changed."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--check",
            action="store_true",
            help="only say what would be done; ends with 1 when something is pending, with 2 when it would be refused",
        )
        backup = parser.add_mutually_exclusive_group()
        backup.add_argument(
            "--backup", type=Path, help="the folder to make (default: a new one in `backups` of the home)"
        )
        backup.add_argument("--no-backup", action="store_true", help="make none")

    def handle(self, *args: Any, check: bool, **options: Any) -> None:
        paths = home_paths(settings.HOME)
        folder = options["backup"] or paths.home / BACKUPS / f"before-upgrade-{now():%Y%m%dT%H%M%SZ}"
        backup = None if options["no_backup"] else folder.absolute()
        try:
            if check:
                self._check(paths, backup)
            elif (report := upgrade(paths, backup, self._say)).applied:
                self._report(report, backup, current_owner(paths))
            else:
                self._say(NOTHING)
        except NotUpgraded as error:
            raise CommandError(str(error), returncode=2) from error

    def _check(self, paths: HomePaths, backup: Path | None) -> None:
        with ready_to_upgrade(paths, self._say) as pending:
            is_pending = bool(pending.names)
        if is_pending:
            self._say(f"It would be backed up into {backup} first." if backup else "No backup would be made.")
            sys.exit(1)
        self._say(NOTHING)

    def _report(self, report: UpgradeReport, backup: Path | None, owner: Owner | None) -> None:
        self._say(
            f"Applied {count_migrations(len(report.applied))} in {report.seconds:.1f} s. "
            + (f"{backup} holds everything as it was before this run." if backup else "No backup was made.")
        )
        if owner is not None:
            self._say(
                f"Process {owner.pid} runs the old code at {owner.url}: `manage.py down`, then `manage.py up`."
            )
        self._say(
            "Restart what you start apart (serve, consume, Celery's worker and beat), serving hosts last."
        )

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
