import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from driftline.base.byte_sizes import format_bytes
from driftline.base.clock import now
from driftline.operations.capacity.figures import largest_models, read_capacity
from driftline.operations.capacity.wording import (
    NOT_SEEN,
    describe_disk,
    describe_growth,
    describe_log_archive,
    describe_rows,
    describe_size,
)
from driftline.operations.services.diagnosis import diagnose
from driftline.operations.services.paths import home_paths


class Command(BaseCommand):
    help = "Checks the installation and its services, and says what to mend; ends with 1 when something is wrong."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--capacity",
            action="store_true",
            help="say instead how fast rows come, how fast the database grows and when the disks are full",
        )

    def handle(self, *args: Any, capacity: bool, **options: Any) -> None:
        if capacity:
            try:
                self._say_capacity()
            except DatabaseError as error:
                reason = str(error).strip().splitlines()[0]
                raise CommandError(
                    f"The database cannot be measured: {reason}. manage.py doctor says what to mend."
                ) from error
            return
        wrong = 0
        for finding in diagnose(home_paths(settings.HOME)):
            self.stdout.write(f"{'ok  ' if finding.is_fine else 'MEND'}  {finding.subject}: {finding.text}")
            if not finding.is_fine:
                self.stdout.write(f"      {finding.remedy}")
                wrong += 1
        self.stdout.write("Everything is fine." if not wrong else f"{wrong} to mend.")
        if wrong:
            sys.exit(1)

    def _say_capacity(self) -> None:
        moment = now()
        found = read_capacity(moment)
        self.stdout.write(f"rows: {describe_rows(found)}")
        self.stdout.write(f"database: {describe_size(found)}")
        self.stdout.write(f"growth: {describe_growth(found.growth)}")
        if found.archives_log:
            self.stdout.write(f"log archive: {describe_log_archive(found.log_archive)}")
        for disk in found.disks:
            self.stdout.write(f"disk of {disk.holds}: {describe_disk(disk)}")
        if not found.sees_database:
            self.stdout.write(f"disk of database: {NOT_SEEN}")
        for model in largest_models(moment):
            size = f"{format_bytes(model.bytes)}, of which summaries {format_bytes(model.summary_bytes)}"
            rows = f"{model.rows:,} rows, {model.rows_last_day:,} in the last 24 hours"
            self.stdout.write(f"model {model.project}/{model.name}: {size}; {rows}")
