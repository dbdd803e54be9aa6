import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from driftline.services.diagnosis import diagnose
from driftline.services.paths import home_paths


class Command(BaseCommand):
    help = "Checks the installation and its services, and says what to mend; ends with 1 when something is wrong."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        wrong = 0
        for finding in diagnose(home_paths(settings.HOME)):
            self.stdout.write(f"{'ok  ' if finding.is_fine else 'MEND'}  {finding.subject}: {finding.text}")
            if not finding.is_fine:
                self.stdout.write(f"      {finding.remedy}")
                wrong += 1
        self.stdout.write("Everything is fine." if not wrong else f"{wrong} to mend.")
        if wrong:
            sys.exit(1)
