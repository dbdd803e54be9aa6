from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from driftline.base.accounts.models import Project
from inference.registry.importers.layouts import READERS, read_folder
from inference.registry.importers.planning import PlannedModel, plan_model, with_classes
from inference.registry.importers.registering import Registered, find_model, foresee, register
from inference.registry.importers.source_model import MigrationRefused, SourceModel
from inference.registry.models import ModelTask
from inference.registry.plan.plan_uptake import await_uptake

_ACTOR = "command line"
_COLUMN = 34


class Command(BaseCommand):
    help = (
        "import_models FOLDER --project P: registers the ONNX models of a folder of Triton, TensorFlow Serving, "
        "MLServer or MLflow, and says of each what came along and what did not. Run again, it doubles nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="the folder that the other server reads")
        parser.add_argument("--project", required=True, help="the project's slug")
        parser.add_argument(
            "--from",
            dest="server",
            choices=READERS,
            help="which server the folder is of, where that is unclear",
        )
        parser.add_argument("--only", help="import the model of this name alone")
        parser.add_argument("--name", help="the name that it gets here, where one model is imported")
        parser.add_argument(
            "--task", choices=ModelTask.values, help="of models with outputs that do not show it"
        )
        parser.add_argument(
            "--classes", default="", help="of models that do not name theirs, separated by commas"
        )
        parser.add_argument("--dry-run", action="store_true", help="tell what would be done")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            known = ", ".join(Project.objects.order_by("slug").values_list("slug", flat=True)) or "none yet"
            raise CommandError(f"There is no project {options['project']!r}; the projects are: {known}.")
        found = _find(options)
        results = [self._import(model, project, options) for model in found]
        self._close(results, dry_run=options["dry_run"])

    def _import(self, found: SourceModel, project: Project, options: dict[str, Any]) -> Registered:
        model = find_model(project, found.name)
        classes = [word.strip() for word in options["classes"].split(",") if word.strip()]
        planned = plan_model(with_classes(found, classes), task=model.task if model else options["task"])
        if options["dry_run"]:
            result = foresee(planned, project=project)
        else:
            result = register(planned, project=project, actor=_ACTOR)
            if result.new and (model := find_model(project, found.name)):
                await_uptake(model=model, home=settings.HOME)
        self._show(planned, result, options["dry_run"])
        return result

    def _show(self, planned: PlannedModel, result: Registered, dry_run: bool) -> None:
        found = planned.found
        self.stdout.write(_printable(f"{found.name}  ({found.place})"))
        verb = "to register" if dry_run else "registered"
        for name in result.new:
            self._line(
                verb, f"version {name}{' as champion' * (name == result.champion)}", f"task {planned.task}"
            )
        for name in result.known:
            self._line("known already", f"version {name}{' (champion)' * (name == result.champion)}", "")
        if result.new or result.known:
            for kept in (*(f"label: {alias}" for alias in result.aliases), *found.kept):
                what, _, how = kept.partition(": ")
                self._line("came along", what, how)
        for left in (*result.left, *planned.left):
            self._line("did not", left.what, left.remedy)

    def _line(self, outcome: str, what: str, remark: str) -> None:
        self.stdout.write(_printable(f"  {outcome:<14}{what:<{_COLUMN}}  {remark}".rstrip()))

    def _close(self, results: list[Registered], *, dry_run: bool) -> None:
        here = [result for result in results if result.new or result.known]
        new, known = (sum(len(getattr(result, name)) for result in here) for name in ("new", "known"))
        would = "would be " if dry_run else ""
        self.stdout.write(
            f"{len(here)} of {len(results)} models {would}here: {new} versions {would}registered, "
            f"{known} known already."
        )
        if len(here) < len(results):
            raise CommandError(
                f"{len(results) - len(here)} of {len(results)} models did not come along; see above."
            )


def _printable(line: str) -> str:
    """Take out what a terminal would obey: names and labels are as the folder has them."""
    return "".join(character if character.isprintable() else "\ufffd" for character in line)


def _find(options: dict[str, Any]) -> list[SourceModel]:
    """Read the folder and choose what the options ask for."""
    try:
        _, found = read_folder(options["folder"], options["server"])
    except MigrationRefused as refusal:
        raise CommandError(str(refusal)) from refusal
    if options["only"]:
        names = [model.name for model in found]
        found = [model for model in found if model.name == options["only"]]
        if not found:
            raise CommandError(
                f"There is no model {options['only']!r}; the folder has {', '.join(names)[:300]}."
            )
    if options["name"]:
        if len({model.name for model in found}) > 1:
            raise CommandError("--name is for one model; choose it with --only.")
        found = [replace(model, name=options["name"]) for model in found]
    return found
