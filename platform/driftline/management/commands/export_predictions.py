from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from driftline.base.durable_files import replacing
from driftline.base.errors import Problem
from driftline.management.import_command import add_model_arguments, find_model, keep_memory_small
from driftline.management.moments import read_moment
from inference.prediction_log.models import PredictionRole
from inference.prediction_log.queries.exports import Wanted, export_predictions


class Command(BaseCommand):
    help = "export_predictions FILE --model M: writes the log with its labels as Parquet."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="the Parquet file to write")
        add_model_arguments(parser)
        parser.add_argument(
            "--from", dest="start", help="RFC 3339 with a zone, or a distance back, as in --from=-7d"
        )
        parser.add_argument("--to", dest="end", help="the same; rows at this time are left out")
        parser.add_argument(
            "--role", default="", choices=["", *PredictionRole.values], help="rows of one role only"
        )
        parser.add_argument("--of-version", default="", help="rows of one version only")

    def handle(self, *args: Any, **options: Any) -> None:
        keep_memory_small()
        wanted = Wanted(
            find_model(options),
            read_moment(options["start"]),
            read_moment(options["end"]),
            options["role"],
            options["of_version"],
        )
        path: Path = options["file"]
        try:
            with replacing(path) as draft, draft.open("wb") as sink:
                exported = export_predictions(wanted=wanted, sink=sink, actor="command line")
        except (Problem, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{exported.rows:,} rows in {path} ({path.stat().st_size:,} bytes).")
        if exported.unreadable:
            self.stderr.write(
                f"{exported.unreadable_rows:,} rows are missing, as their chunks of the log are damaged; "
                "manage.py check_invariants names these."
            )
