"""Stores a file that was looked at: a reference at once, predictions and labels by a worker."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.db import transaction

from inference.data_files.columns import FileKind, FileReading
from inference.data_files.preview import reading_for
from inference.prediction_log.imports import staging
from inference.prediction_log.imports.models import Import, UploadedFile
from inference.prediction_log.imports.reading.layout import FileLayout
from inference.prediction_log.imports.services import ARRIVING, FileSender, import_read_file, to_utf_8
from inference.prediction_log.imports.staging import ReadingChoice
from inference.registry.files.datasets import store_reference
from inference.registry.models import Dataset

PARQUET = "application/vnd.apache.parquet"


@dataclass(frozen=True)
class ConfirmedFile:
    """What came of a file: a data set of a reference, or an import, new unless the same file had started it before."""

    kind: FileKind
    dataset: Dataset | None = None
    job: Import | None = None
    is_new: bool = True


def confirm_file(
    *, file: UploadedFile, choice: ReadingChoice, version: str, sender: FileSender, replace: bool = False,
    positive_class: str = "", force: bool = False,
    allow: Callable[[FileKind, FileLayout | None], None] = lambda kind, layout: None,
) -> ConfirmedFile:  # fmt: skip
    """Store a file as its preview showed it; where it is refused it still waits, and nothing is stored.

    `allow` may refuse what the file brings; `replace`, `positive_class` and `force` are as for references and imports.
    """
    kind, reading = staging.read_as(file, choice)
    allow(kind, None)
    path = staging.path_of(file)
    with transaction.atomic():
        staging.lock_waiting(file)
        stored = (
            _store_reference(
                file, path, reading, version, sender, replace=replace, positive_class=positive_class
            )
            if kind == FileKind.REFERENCE
            else _start_import(file, path, kind, reading, version, sender, force=force, allow=allow)
        )
        staging.remember(file, kind, reading)
    path.unlink(missing_ok=True)
    return stored


def _store_reference(
    file: UploadedFile, path: Path, reading: FileReading, version: str, sender: FileSender, *, replace: bool,
    positive_class: str,
) -> ConfirmedFile:  # fmt: skip
    with path.open("rb") as stream:
        dataset = store_reference(
            model=file.model, version=version or None, stream=stream, actor=sender.actor, replace=replace,
            content_type=PARQUET if reading.format.kind == "parquet" else "text/csv",
            reading=reading_for(reading, FileKind.REFERENCE), positive_class=positive_class,
        )  # fmt: skip
    return ConfirmedFile(FileKind.REFERENCE, dataset=dataset)


def _start_import(
    file: UploadedFile, path: Path, kind: FileKind, reading: FileReading, version: str, sender: FileSender, *,
    force: bool, allow: Callable[[FileKind, FileLayout | None], None],
) -> ConfirmedFile:  # fmt: skip
    """Start the import of the file under another name, which the import removes when it is done."""
    copy = path.with_name(f"{ARRIVING}{path.name.lstrip('.')}-{kind}")
    job = None
    try:
        copy.unlink(missing_ok=True)  # of a confirmation that was killed
        os.link(path, copy)  # a file that is refused still waits under its own
        to_utf_8(copy, reading)
        job, is_new = import_read_file(
            model=file.model, kind=kind, path=copy, digest=file.sha256, name=file.file_name, version=version,
            sender=sender, reading=reading_for(reading, kind), force=force,
            allow=lambda layout: allow(kind, layout),
        )  # fmt: skip
    finally:
        if job is None or not job.path.endswith(copy.name):
            copy.unlink(missing_ok=True)
    return ConfirmedFile(kind, job=job, is_new=is_new)
