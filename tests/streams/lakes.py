"""What jobs over a lake are compared with: models with the same rows, logged or not, and their summaries."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from django.db.models import Sum

from driftline.base.accounts.models import Project
from driftline_spark.bundle import write_bundle
from inference.registry.models import Model
from monitors.definitions.models import SegmentFeature
from monitors.stats.mergeable.window_summary import WindowSummary
from monitors.summaries.checking import difference_of
from monitors.summaries.models import Summary
from tests.worlds.approvals import (
    DAY,
    give_reference,
    label,
    log,
    make_model,
    rows_of_a_day,
    truths,
    work,
)

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PATIENCE_SECONDS = 480


class StartJob(Protocol):
    """Starts a job with these arguments."""

    def __call__(self, *arguments: str) -> subprocess.Popen[bytes]: ...


def unlogged_model(project: Project) -> Model:
    """Make a model with rows that nobody logs."""
    model = make_model(project, "lake")
    give_reference(model)
    SegmentFeature.objects.create(model=model, feature="region")
    return model


def logged_model(project: Project, rows: int) -> Model:
    """Make a model of which so many rows of the first day are logged, labelled and summarised."""
    logged = make_model(project, "logged")
    give_reference(logged)
    SegmentFeature.objects.create(model=logged, feature="region")
    sent = rows_of_a_day(DAY, rows)
    log(logged, sent)
    label(logged, truths(sent))
    work(logged)
    return logged


def differences(ours: Model, theirs: Model) -> list[str]:
    """Say where the summaries of two models differ."""
    one, other = summaries(ours), summaries(theirs)
    if one.keys() != other.keys():
        return [f"windows {sorted(map(str, one.keys() ^ other.keys()))[:5]}"]
    found = [(key, difference_of(other[key], one[key])) for key in other]
    return [f"{key}: {difference}" for key, difference in found if difference is not None]


def summaries(model: Model) -> dict[tuple[Any, ...], WindowSummary]:
    rows = Summary.objects.filter(model=model).values_list("span", "start", "segment", "payload")
    return {tuple(key): WindowSummary.decode(bytes(payload)) for *key, payload in rows}


def rows_counted(model: Model) -> int:
    hours = Summary.objects.filter(model=model, span="hour", segment="")
    return int(hours.aggregate(rows=Sum("rows"))["rows"] or 0)


@contextmanager
def jobs(command: Sequence[str | Path], environment: Mapping[str, str], folder: Path) -> Iterator[StartJob]:
    """Start jobs with the packed kernels; what still runs at the end is ended."""
    write_bundle(folder / "kernels.zip")
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        started.append(
            subprocess.Popen(
                [*command, *arguments],
                env={**os.environ, **environment, "PYTHONPATH": str(folder / "kernels.zip")},
                cwd=folder, stdout=subprocess.PIPE, stderr=errors, start_new_session=True,
            )
        )  # fmt: skip
        return started[-1]

    with (folder / "job.log").open("ab") as errors:
        try:
            yield start
        finally:
            for process in started:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()


def ended(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Wait for a job that goes well, and return what it printed."""
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, (folder / "job.log").read_text()[-3_000:]
    return out.decode()
