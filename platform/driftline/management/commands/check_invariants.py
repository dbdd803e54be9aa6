import sys
from typing import Any

from django.core.management.base import BaseCommand

from driftline.operations.invariants import check_all


class Command(BaseCommand):
    help = "Counts what must hold and exits with 1 if anything does not."

    def handle(self, *args: Any, **options: Any) -> None:
        results = list(check_all())
        for result in results:
            self.stdout.write(f"{'holds' if result.holds else 'BROKEN'}  {result.statement}: {result.counts}")
        broken = sum(not result.holds for result in results)
        self.stdout.write(f"{len(results) - broken} invariants hold, {broken} are broken.")
        if broken:
            sys.exit(1)
