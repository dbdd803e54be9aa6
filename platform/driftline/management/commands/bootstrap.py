import json
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from driftline.sign_in.bootstrap import bootstrap_home


class Command(BaseCommand):
    help = (
        "Makes the first user, project and token, once for a database, and prints them as JSON; "
        "null stands for what no longer works."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(json.dumps(asdict(bootstrap_home(settings.HOME))))
