from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from driftline.base.clock import now
from inference.prediction_log.labels.folding import fold_labels
from inference.prediction_log.retention.expiry import (
    delete_expired_day,
    drop_week,
    find_expired,
    find_expired_weeks,
)


class Command(BaseCommand):
    help = "Deletes logged predictions that are older than their model keeps them, as the hourly tick does."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what would go and delete nothing")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        moment = now()
        weeks = find_expired_weeks(moment)
        for week in weeks:
            self.stdout.write(f"{week}  narrow rows that arrived in the week that began then")
            if not dry_run:
                drop_week(week)
        days = rows = 0
        for expired in find_expired(moment, without=weeks):
            for packed in expired.packed:
                self.stdout.write(f"{packed.day}  {packed.model}  {packed.role}  {packed.rows:,} rows")
            days += bool(expired.packed or expired.whole)
            rows += expired.rows if dry_run else delete_expired_day(expired)
        if not dry_run:
            fold_labels()
        counted = f"{rows:,} rows of {days} days and the narrow rows of {len(weeks)} weeks"
        self.stdout.write(f"{counted} {'would be' if dry_run else 'were'} deleted.")
