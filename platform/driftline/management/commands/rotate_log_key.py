import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from inference.prediction_log.encryption.key_rotation import rotate_log_key


class Command(BaseCommand):
    help = "Makes a new master key of the encrypted log (keys/log_key) and wraps the log's keys under it."

    def handle(self, *args: Any, **options: Any) -> None:
        done = rotate_log_key(settings.HOME)
        self.stdout.write(
            f"{done.wrapped} keys wrapped anew, {done.lost} that no master key opens; "
            f"{done.released} old master keys deleted, {done.kept} kept, the new one among them."
        )
        if done.lost:
            sys.exit(1)
