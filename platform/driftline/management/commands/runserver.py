from typing import Any

from django.contrib.staticfiles.management.commands.runserver import Command as DjangoCommand
from django.core.management.base import CommandError

from driftline.operations.services.listening import is_loopback


class Command(DjangoCommand):
    help = "Runs Django's development server, on this machine's own addresses alone; `serve` is for everything else."

    def run(self, **options: Any) -> None:
        """Refuse an address that others reach: this server speaks no TLS and shows error details."""
        address: str = self.addr  # type: ignore[attr-defined]  # Django sets it in `handle`
        if not is_loopback(address):
            raise CommandError(
                f"{address} can be reached from other machines, and runserver speaks no TLS; use `serve`."
            )
        super().run(**options)
