import os
import signal
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from driftline.operations.services.ownership import current_owner
from driftline.operations.services.paths import home_paths

PATIENCE_SECONDS = 180.0  # longer than every process together may take


class Command(BaseCommand):
    help = "Stops the installation that `up` runs in this home, and waits until it has stopped."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        paths = home_paths(settings.HOME)
        owner = current_owner(paths)
        if owner is None:
            self.stdout.write(f"Nothing runs in {paths.home}.")
            return
        try:
            os.kill(owner.pid, signal.SIGTERM)
        except PermissionError as error:
            raise CommandError(
                f"Process {owner.pid} belongs to another user; ask them to stop it."
            ) from error
        deadline = time.monotonic() + PATIENCE_SECONDS
        while current_owner(paths) == owner:
            if time.monotonic() > deadline:
                raise CommandError(f"Process {owner.pid} has not stopped; see {paths.log}.")
            time.sleep(0.1)
        self.stdout.write(f"Stopped process {owner.pid} ({owner.url}).")
