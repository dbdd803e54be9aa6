"""What the commands that import files share: they find the model, show a bar, and go on where a killed one was."""

import signal
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from django.core.management.base import BaseCommand, CommandError, CommandParser

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from driftline.base.work.lease import LeaseLost
from inference.prediction_log.imports import bad_rows
from inference.prediction_log.imports.lease import BeingWorkedOn
from inference.prediction_log.imports.models import Import
from inference.prediction_log.imports.services import FileSender, import_file, run
from inference.registry.models import Model

_BAR = 24
_EVERY_S = 5.0  # where no terminal shows a bar


def add_model_arguments(parser: CommandParser) -> None:
    parser.add_argument("--model", required=True, help="the model's name")
    parser.add_argument("--project", help="the project's slug, where several have a model of this name")


def find_model(options: dict[str, Any]) -> Model:
    """Find the model that the command line names."""
    models = Model.objects.filter(name=options["model"]).select_related("project", "deployment__champion")
    if options["project"]:
        models = models.filter(project__slug=options["project"])
    found = list(models.order_by("project__slug")[:2])
    if not found:
        known = ", ".join(Project.objects.order_by("slug").values_list("slug", flat=True)) or "none yet"
        raise CommandError(f"There is no model {options['model']!r}; the projects are: {known}.")
    if len(found) > 1:
        raise CommandError(f"Several projects have a model {options['model']!r}; add --project.")
    return found[0]


def keep_memory_small() -> None:
    """Take memory for columns from the system, which gets it back: Arrow's own allocator keeps some 50 MB more."""
    pa.set_memory_pool(pa.system_memory_pool())


class ImportCommand(BaseCommand):
    """Imports one file in this process."""

    kind: str

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="a CSV (UTF-8, with a header) or Parquet file")
        add_model_arguments(parser)
        parser.add_argument("--force", action="store_true", help="import a file again that was imported")

    def handle(self, *args: Any, **options: Any) -> None:
        keep_memory_small()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        model = find_model(options)
        try:
            job, is_new = import_file(
                model=model,
                kind=self.kind,
                path=options["file"],
                version=options.get("version") or "",
                sender=FileSender("command line"),
                force=options["force"],
            )
            if not is_new and not job.is_unfinished:
                self.stdout.write(f"{str(job).capitalize()} took this file before; --force takes it again.")
                return
            if not is_new and job.rows:
                self.stdout.write(f"Going on with {job} after row {job.rows:,}.")
            bar = ProgressBar(job, self.stderr, is_terminal=sys.stderr.isatty())
            job = run(job.pk, stop=bar.show)
        except Problem as problem:
            raise CommandError(problem.detail) from problem
        except BeingWorkedOn as error:
            raise CommandError("Another process imports this file; see the model's page Import.") from error
        except LeaseLost as error:
            raise CommandError("The import was cancelled; the rows that are in the log stay.") from error
        self._close(job, bar)

    def _close(self, job: Import, bar: "ProgressBar") -> None:
        bar.end()
        if job.rejected:
            self.stderr.write(
                f"The first {job.bad_rows:,} of {job.rejected:,} bad rows: {bad_rows.path_of(job)}"
            )
        labels = f", {job.labels:,} labels" if job.labels else ""
        counts = f"{job.accepted:,} new{labels}, {job.duplicates:,} known already, {job.rejected:,} bad"
        if job.state == Import.State.FAILED:
            raise CommandError(f"{job.error} Before that: {counts}.")
        self.stdout.write(f"{job.rows:,} rows in {bar.seconds:,.1f} s ({bar.rate:,.0f} rows/s): {counts}.")


class ProgressBar:
    """A bar on a terminal, else a line now and then."""

    def __init__(self, job: Import, stream: Any, *, is_terminal: bool) -> None:
        self._stream, self._is_terminal = stream, is_terminal
        self._began = self._shown = time.monotonic()
        self._first_rows, self._first_share = job.rows, job.share
        self.rate = self.seconds = 0.0

    def show(self, job: Import) -> bool:
        """Show how far the import is; never asks it to stop."""
        moment = time.monotonic()
        self.seconds = max(moment - self._began, 1e-6)
        self.rate = (job.rows - self._first_rows) / self.seconds
        if self._is_terminal:
            self._stream.write(f"\r{self._line(job)}\033[K", ending="")
            self._stream.flush()
        elif moment - self._shown >= _EVERY_S:
            self._shown = moment
            self._stream.write(self._line(job))
        return False

    def end(self) -> None:
        """Leave the bar's line."""
        if self._is_terminal:
            self._stream.write("")

    def _line(self, job: Import) -> str:
        done = job.share - self._first_share
        left = f", about {self.seconds * (1 - job.share) / done:,.0f} s left" if done > 0 else ""
        filled = round(job.share * _BAR)
        bad = f", {job.rejected:,} bad" if job.rejected else ""
        bar = "#" * filled + "-" * (_BAR - filled)
        return f"[{bar}] {job.share:4.0%}  {job.rows:,} rows, {self.rate:,.0f} rows/s{bad}{left}"
