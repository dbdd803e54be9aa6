"""Where a report's files lie: the HTML that its row names, and the same as JSON beside it."""

from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from monitors.reports.models import Report


@dataclass(frozen=True)
class Made:
    """A finished report."""

    html: str
    json: bytes
    left_out: list[str]  # sentences about what it could not take


def folder() -> Path:
    """Give the folder of the reports; it is made where it is missing."""
    found: Path = settings.HOME / "reports"
    found.mkdir(parents=True, exist_ok=True, mode=0o700)
    return found


def html_of(report: Report) -> Path:
    """Tell where the HTML of a report that is ready lies."""
    found: Path = settings.HOME / report.path
    return found


def json_of(report: Report) -> Path:
    """Tell where the JSON lies; reports of an earlier release have none."""
    return html_of(report).with_suffix(".json")


def remove(report: Report) -> None:
    """Delete a report's files, if it has any."""
    if report.path:
        html_of(report).unlink(missing_ok=True)
        json_of(report).unlink(missing_ok=True)


def remove_leftovers() -> None:
    """Remove the files of reports that are gone, and drafts of workers that died.

    The files are listed first, then those being made: what was there then is named by a row or is gone for good.
    """
    found = list(folder().iterdir())
    running = {
        str(pk) for pk in Report.objects.filter(state=Report.State.RUNNING).values_list("pk", flat=True)
    }
    named = {Path(path).stem for path in Report.objects.exclude(path="").values_list("path", flat=True)}
    for path in found:
        if path.stem.lstrip(".").partition("-")[0] not in named | running:
            path.unlink(missing_ok=True)
