"""Erases a subject from the files of imports, and from the logs of the processes."""

import csv
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from django.conf import settings

from driftline.base.durable_files import write_file
from driftline.base.http.exports import write_csv
from inference.prediction_log.erasure.work import Blocked, Work, add_counts
from inference.prediction_log.imports import bad_rows, row_list, staging
from inference.prediction_log.imports.models import UNFINISHED, Import, UploadedFile

LOG_FOLDERS = ("log", "demo")  # texts that processes append to
_OWN_COLUMNS = len(bad_rows.COLUMNS)
_TEXTS = ("file_name", "error", "layout", "reading")


# -- imports -----------------------------------------------------------------------------------------------------------
def await_imports(work: Work) -> None:
    """Wait for the uploads that are being imported: their rows would come after the erasure. Files that nobody has
    confirmed yet are forgotten: whoever sent one can send it again.
    """
    for file in UploadedFile.objects.filter(model__project=work.project, confirmed_at=None):
        staging.discard_file(file)
        work.count(files=1)
    uploads = Import.objects.filter(model__project=work.project, is_upload=True, state__in=UNFINISHED)
    running = uploads.order_by("pk").first()
    if running is not None:
        raise Blocked(f"the end of {running}")


def erase_bad_rows(work: Work) -> None:
    """Take the rows with the subject out of the files of bad rows, and the key out of what is known of their files."""
    jobs = Import.objects.filter(model__project=work.project).order_by("pk")
    for job in jobs.filter(pk__gt=work.progress.get("import", 0)):
        work.check_deadline()
        path = bad_rows.path_of(job)
        if job.bad_bytes and path.exists():
            _clean_bad_rows(work, job, path)
        if job.row_bytes and row_list.names_any(job, work.subject.ids):
            row_list.path_of(job).unlink(missing_ok=True)  # who undoes the import would need its ids
            work.count(row_lists=1)
        _scrub(work, job, _TEXTS)
        work.progress["import"] = job.pk
    for file in UploadedFile.objects.filter(model__project=work.project).exclude(confirmed_at=None):
        _scrub(work, file, ("file_name", "reading"))


def _scrub(work: Work, row: Import | UploadedFile, fields: Sequence[str]) -> None:
    cleaned = {name: work.subject.scrub(getattr(row, name)) for name in fields}
    if any(getattr(row, name) != value for name, value in cleaned.items()):
        type(row).objects.filter(pk=row.pk).update(**cleaned)
        work.count(texts=1)


def _clean_bad_rows(work: Work, job: Import, path: Path) -> None:
    stored = path.read_bytes()[: job.bad_bytes]
    head, *lines = list(csv.reader(io.StringIO(stored.decode(), newline="")))
    kept = [line for line in lines if not _names(work, line)]
    if (
        len(kept) == len(lines) and len(stored) == job.bad_bytes
    ):  # it is shorter where an attempt died half-way
        return
    text = io.StringIO()
    write_csv(text, [head, *kept] if kept else [], line_end="\n")
    content = text.getvalue().encode()
    with work.fenced() as erasure:
        Import.objects.filter(pk=job.pk).update(bad_bytes=len(content), bad_rows=len(kept))
        _replace(path, content)
        add_counts(erasure, {"bad_rows": len(lines) - len(kept)})


def _names(work: Work, line: list[str]) -> bool:
    """Return whether a cell is the key or an id; one that a spreadsheet would take for a formula has an apostrophe."""
    own_texts, cells = line[:_OWN_COLUMNS], line[_OWN_COLUMNS:]
    return any(
        work.subject.is_value(cell.removeprefix("'")) or work.subject.is_in(cell) for cell in cells
    ) or any(work.subject.is_in(cell) for cell in own_texts)


def _replace(path: Path, content: bytes) -> None:
    if not content:
        path.unlink()
        return
    write_file(path, content)


# -- logs --------------------------------------------------------------------------------------------------------------
def blank_logs(work: Work) -> None:
    """Write `x` over the key wherever a process has logged it: the files stay as long as those who append know them."""
    for folder in LOG_FOLDERS:
        for path in sorted((settings.HOME / folder).rglob("*")):
            if path.is_file() and path.suffix in (".log", ".1", ".jsonl"):
                work.count(log_lines=blank(path, work.subject.blank))


def blank(path: Path, write_over: Callable[[bytes], tuple[bytes, int]]) -> int:
    """Write over parts of a file in place, line by line; returns how many there were."""
    found = 0
    with path.open("r+b") as file:
        start = 0
        for line in iter(file.readline, b""):
            changed, times = write_over(line)
            if times:
                os.pwrite(file.fileno(), changed, start)
                found += times
            start += len(line)
    return found
