from driftline.management.import_command import ImportCommand
from inference.prediction_log.imports.models import Import


class Command(ImportCommand):
    help = "import_labels FILE --model M: brings labels into the log; run again, it goes on where it was."
    kind = Import.Kind.LABELS
