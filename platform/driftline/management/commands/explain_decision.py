import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from driftline.management.import_command import find_model
from monitors.alerts.models import Incident
from monitors.reports.derivation.alerts import derive_incident
from monitors.reports.derivation.predictions import NoSuchPrediction, derive_prediction
from monitors.reports.derivation.result import Derivation, DerivedOutcome
from monitors.reports.derivation.verdicts import derive_verdict
from monitors.reports.run_ends import ends_of
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
        try:
            derived = list(_derive(options))
        except NoSuchPrediction as error:
            raise CommandError(
                f"The log of {options['model']} has no prediction {options['id'][:60]!r}, or does not keep it any more."
            ) from error
        for one in derived:
            self.stdout.write(str(one))
        if run := _named_run(options):
            for end in ends_of([run]):
                self.stdout.write(str(end))
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
    run = _named_run(options)
    if run is None:
        raise CommandError(f"There is no run {number}.")
    return derive_verdict(run)


def _named_run(options: dict[str, Any]) -> Run | None:
    """Return the run that the id names; None where it names something else."""
    named = None if options["model"] else _NAMED.fullmatch(options["id"])
    if named is None or named[1].upper() == "INC":
        return None
    runs = Run.objects.select_related("model__project", "champion", "challenger")
    return runs.filter(pk=int(named[2])).first()
