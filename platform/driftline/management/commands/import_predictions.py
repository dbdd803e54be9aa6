from django.core.management.base import CommandParser

from driftline.management.import_command import ImportCommand
from inference.prediction_log.imports.models import Import


class Command(ImportCommand):
    help = "import_predictions FILE --model M: brings predictions into the log; run again, it goes on where it was."
    kind = Import.Kind.PREDICTIONS

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--for-version", dest="version", help="for rows that name none; the champion's without"
        )
