import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from driftline.management.import_command import find_model
from monitors.alerts.models import Incident
from monitors.reports.derivation.alerts import derive_incident
from monitors.reports.derivation.predictions import derive_prediction
from monitors.reports.derivation.result import Derivation, DerivedOutcome
from monitors.reports.derivation.verdicts import derive_verdict
from monitors.workflows.models import Run

_NAMED = re.compile(r"(INC|run)-(\d{1,18})", re.ASCII | re.IGNORECASE)


class Command(BaseCommand):
    help = (
        "explain_decision INC-12, run-7, or an id of a prediction with --model: derives the alerts, the verdict of the "
        "gate or the prediction again from stored rows, and says what is equal, what differs and what cannot be "
        "derived any more; ends with 1 where something differs."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", help="INC-12, run-7, or the id of a prediction")
        parser.add_argument("--model", help="the model of a prediction")
        parser.add_argument("--project", help="the project's slug, where several have a model of this name")

    def handle(self, *args: Any, **options: Any) -> None:
        derived = list(_derive(options))
        for one in derived:
            self.stdout.write(str(one))
        counts = Counter(one.outcome for one in derived)
        equal, differing, missing = (counts[outcome] for outcome in DerivedOutcome)
        self.stdout.write(f"{equal} equal, {differing} differ, {missing} cannot be derived.")
        if differing:
            sys.exit(1)


def _derive(options: dict[str, Any]) -> Iterator[Derivation]:
    if options["model"]:
        return derive_prediction(find_model(options), options["id"])
    named = _NAMED.fullmatch(options["id"])
    if named is None:
        raise CommandError(
            f"{options['id'][:60]!r} is neither an incident such as INC-12 nor a run such as run-7; for a prediction "
            "add --model."
        )
    number = int(named[2])
    if named[1].upper() == "INC":
        incident = Incident.objects.filter(pk=number).first()
        if incident is None:
            raise CommandError(f"There is no incident INC-{number}.")
        return derive_incident(incident)
    run = Run.objects.filter(pk=number).select_related("model__project", "champion", "challenger").first()
    if run is None:
        raise CommandError(f"There is no run {number}.")
    return derive_verdict(run)
