from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.db.models import Q

from driftline.base.accounts.services import record_audit
from driftline.base.periods import rfc3339
from driftline.management.import_command import add_model_arguments, find_model
from driftline.management.moments import read_moment
from monitors.summaries.services import rebuild_model


class Command(BaseCommand):
    help = "rebuild_summaries --model M: rebuilds the summaries of hours and days from the rows in the log."

    def add_arguments(self, parser: CommandParser) -> None:
        add_model_arguments(parser)
        parser.add_argument(
            "--from", dest="start", help="RFC 3339 with a zone, or a distance back, as in --from=-7d"
        )
        parser.add_argument("--to", dest="end", help="the same; windows that begin then are left out")

    def handle(self, *args: Any, **options: Any) -> None:
        model, which = find_model(options), Q()
        start, end = read_moment(options["start"]), read_moment(options["end"])
        if start is not None:
            which &= Q(start__gte=start)
        if end is not None:
            which &= Q(start__lt=end)
        with transaction.atomic():
            windows = rebuild_model(model.pk, which)
            record_audit(
                project=model.project,
                actor="command line",
                action="window.rebuild",
                subject=model.name,
                after={
                    "windows": windows,
                    "from": start and rfc3339(start),
                    "to": end and rfc3339(end),
                },
            )
        self.stdout.write(
            f"The workers rebuild {windows:,} windows of {model.name}. Windows with expired or dropped rows stay as "
            "they are."
        )
