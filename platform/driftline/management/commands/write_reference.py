from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from driftline.management.reference import TABLES, NoPlaceForTable, write_table
from driftline.settings.environment import CHECKOUT


class Command(BaseCommand):
    help = "Writes the tables of the documentation that are made from the code."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--check", action="store_true", help="only fail if a page is stale; write nothing"
        )
        parser.add_argument(
            "--folder", type=Path, default=CHECKOUT / "docs", help="the documentation (default docs/)"
        )

    def handle(self, *args: Any, check: bool, folder: Path, **options: Any) -> None:
        stale = 0
        for name, table in TABLES.items():
            page = folder / name
            try:
                text = write_table(page, table())
            except NoPlaceForTable as error:
                raise CommandError(str(error)) from error
            if text == page.read_text():
                continue
            stale += 1
            if check:
                self.stderr.write(f"{page} is stale.")
            else:
                page.write_text(text)
        if check and stale:
            raise CommandError(
                f"{stale} of {len(TABLES)} pages are stale: run `manage.py write_reference` and commit what it writes."
            )
        self.stdout.write(f"{len(TABLES)} pages, {stale} of them written.")
