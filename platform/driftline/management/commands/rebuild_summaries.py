from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.db.models import Q

from driftline.management.import_command import add_model_arguments, find_model
from driftline.management.moments import read_moment
from monitors.summaries.services import summarise_again


class Command(BaseCommand):
    help = "rebuild_summaries --model M: has hours and days summarised anew from the rows that the log still has."

    def add_arguments(self, parser: CommandParser) -> None:
        add_model_arguments(parser)
        parser.add_argument(
            "--from", dest="start", help="RFC 3339 with a zone, or a distance back such as -7d"
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
            windows = summarise_again(model.pk, which)
        self.stdout.write(
            f"{windows:,} windows of {model.name} are made anew by the workers; those of which rows have expired or "
            "were let go stay as they are."
        )
