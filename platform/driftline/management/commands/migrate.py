from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands.migrate import Command as DjangoCommand
from django.db import DEFAULT_DB_ALIAS

from driftline.operations.upgrade.pending import read_refused


class Command(DjangoCommand):
    help = "Applies the migrations that the database lacks; use `upgrade` where the installation runs or holds data."

    def handle(self, *args: Any, database: str, **options: Any) -> str | None:
        """Refuse a database that is none of this code's, before anything is changed."""
        if database == DEFAULT_DB_ALIAS and (refused := read_refused()):
            raise CommandError(str(refused))
        return super().handle(*args, database=database, **options)
