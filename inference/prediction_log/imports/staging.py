"""Files that people look at before anything of them is stored: uploaded, previewed as often as wanted, then confirmed.

A file waits in the folder of imports, as it was sent. How it was read stays with the model for its next file.
"""

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from driftline.base.clock import now
from driftline.base.errors import FieldFault, Problem, not_found
from driftline.base.http.uploads import MAX_UPLOAD_BYTES, receive_file
from driftline.base.strict_json import escape_pointer, printable
from inference.data_files.columns import ColumnRole, FileKind, FileReading, WrongReading, check_reading
from inference.data_files.guesses import KnownModel
from inference.data_files.preview import FileHead, Preview, UnreadableHead, preview, read_head, reading_for
from inference.prediction_log.imports import bad_rows
from inference.prediction_log.imports.models import UploadedFile
from inference.registry.models import Model
from inference.registry.selectors import signature_of

KEPT_FOR = timedelta(days=1)
MAX_WAITING = 20  # files of one model
_PREFIX = ".waiting-"
_STATUS = {"unsupported_media_type": 415}


class ReadingChoice(msgspec.Struct, frozen=True):
    """What a person chose for a file; what is left out is guessed."""

    kind: FileKind | None = None
    columns: dict[str, ColumnRole] = {}
    format: dict[str, Any] = {}
    time_zone: str = ""
    date_order: str = ""


def stage_file(*, model: Model, stream: IO[bytes], name: str, actor: str) -> UploadedFile:
    """Keep an upload until it is confirmed or a day has passed; one that cannot be read is refused at once."""
    if waiting_files(model).count() >= MAX_WAITING:
        detail = f"{MAX_WAITING} files of {model.name} wait to be confirmed; confirm or discard one first."
        raise Problem(409, "too_many_files", detail)
    too_large = Problem(413, "body_too_large", f"An upload has up to {MAX_UPLOAD_BYTES >> 30} GiB.")
    with tempfile.NamedTemporaryFile(dir=bad_rows.folder(), prefix=_PREFIX, delete=False) as file:
        path = Path(file.name)
        try:
            digest, size = receive_file(stream, file.file, too_large=too_large)
            os.fsync(file.fileno())
            _head(path, {})
            return UploadedFile.objects.create(
                model=model, file_name=printable(name)[:200], path=str(path.relative_to(settings.HOME)),
                sha256=digest, size=size, created_by=actor,
            )  # fmt: skip
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def waiting_files(model: Model, *, sent_by: str | None = None) -> QuerySet[UploadedFile]:
    """Select the files of a model that wait to be confirmed, the newest first; with `sent_by` those of one sender."""
    waiting = UploadedFile.objects.filter(model=model, confirmed_at=None)
    waiting = waiting if sent_by is None else waiting.filter(created_by=sent_by)
    return waiting.select_related("model").order_by("-pk")


def get_waiting_file(*, model: Model, file_id: int, sent_by: str | None = None) -> UploadedFile:
    """Find a file that waits; raises Problem 404."""
    file = waiting_files(model, sent_by=sent_by).filter(pk=file_id).first()
    if file is None or not path_of(file).exists():
        raise not_found("file")
    return file


def path_of(file: UploadedFile) -> Path:
    """Return where the content of a file that waits lies."""
    return settings.HOME / file.path


def preview_file(file: UploadedFile, choice: ReadingChoice | None = None) -> Preview:
    """Show the first rows of a file as they will be stored; raises Problem for a choice that does not fit it."""
    choice = choice or ReadingChoice()
    before = remembered_reading(file.model, choice.kind)
    chosen = dict(choice.format) or _format_before(before, file)
    try:
        return preview(
            _head(path_of(file), chosen),
            known=known_model(file.model),
            kind=choice.kind,
            roles=choice.columns,
            remembered=before.columns if before else None,
            time_zone=choice.time_zone or (before.time_zone if before else ""),
            date_order=choice.date_order,
        )
    except WrongReading as wrong:
        raise _refusal(wrong) from wrong


def column_names(file: UploadedFile, written: Mapping[str, object]) -> list[str]:
    """Return the names of a file's columns if it is written so; raises Problem."""
    names: list[str] = _head(path_of(file), written).table.column_names
    return names


def read_as(file: UploadedFile, choice: ReadingChoice) -> tuple[FileKind, FileReading]:
    """Return how a file that is confirmed is read; raises Problem where something is missing or wrong for its kind."""
    shown = preview_file(file, choice)
    names = [column.name for column in shown.columns]
    try:
        check_reading(reading_for(shown.reading, shown.kind), shown.kind, names)
    except WrongReading as wrong:
        raise _refusal(wrong) from wrong
    return shown.kind, shown.reading


def remember(file: UploadedFile, kind: FileKind, reading: FileReading) -> None:
    """Keep how a file was read for the next one of its model, in the caller's transaction."""
    same = UploadedFile.objects.filter(model=file.model, kind=kind).exclude(pk=file.pk)
    same.exclude(confirmed_at=None).delete()
    file.kind, file.reading, file.path = kind, msgspec.to_builtins(reading), ""
    file.confirmed_at = now()
    file.save(update_fields=["kind", "reading", "path", "confirmed_at"])


def lock_waiting(file: UploadedFile) -> None:
    """Lock a file for one caller to confirm, in the caller's transaction; raises Problem 409 where another one has."""
    locked = UploadedFile.objects.select_for_update().filter(pk=file.pk, confirmed_at=None).first()
    if locked is None:
        raise Problem(
            409, "file_confirmed", "The file was confirmed or discarded meanwhile; see the imports."
        )


def discard_file(file: UploadedFile) -> None:
    """Forget a file that waits, with its content."""
    path = path_of(file)
    with transaction.atomic():
        lock_waiting(file)
        file.delete()
    path.unlink(missing_ok=True)


def remove_forgotten() -> None:
    """Forget the files that nobody confirmed in time; their content goes with the other leftovers."""
    old = UploadedFile.objects.filter(confirmed_at=None, created_at__lt=now() - KEPT_FOR)
    for file in old:
        with suppress(Problem):  # it was confirmed at this moment
            discard_file(file)
    known = set(UploadedFile.objects.exclude(path="").values_list("path", flat=True))
    for path in bad_rows.folder().glob(f"{_PREFIX}*"):
        if (
            str(path.relative_to(settings.HOME)) not in known
            and now().timestamp() - path.stat().st_mtime > 86_400
        ):
            path.unlink(missing_ok=True)


def remembered_reading(model: Model, kind: FileKind | None) -> FileReading | None:
    """Return how the model's last file was read, of the same kind where there was one."""
    confirmed = UploadedFile.objects.filter(model=model).exclude(confirmed_at=None).order_by("-confirmed_at")
    file = (confirmed.filter(kind=kind).first() if kind else None) or confirmed.first()
    return None if file is None else msgspec.convert(file.reading, FileReading)


def known_model(model: Model) -> KnownModel:
    """Gather what is known of the columns of a model's files."""
    features: dict[str, bool] = {}
    classes: list[str] = []
    positive_class: str | None = None
    is_served = False
    for version in model.versions.exclude(signature__isnull=True).order_by("pk"):
        signature = signature_of(version)
        features |= {feature.name: feature.type != "string" for feature in signature.features}
        if signature.classes:
            classes, positive_class = list(signature.classes), signature.positive_class
        is_served = not version.is_external
    has_reference = model.datasets.filter(kind="reference", archived_at=None).exists()
    return KnownModel(
        model.task, features, classes, positive_class, has_reference=has_reference, has_all_features=is_served
    )


def _format_before(before: FileReading | None, file: UploadedFile) -> dict[str, Any]:
    """Whether a file has a header is remembered where the columns before had none."""
    return {} if before is None or before.format.has_header else {"has_header": False}


def _head(path: Path, chosen: Mapping[str, object]) -> FileHead:
    try:
        return read_head(path, chosen)
    except UnreadableHead as error:
        raise Problem(_STATUS.get(error.code, 422), error.code, error.detail) from error


def _refusal(wrong: WrongReading) -> Problem:
    pointer = f"/columns/{escape_pointer(wrong.column)}" if wrong.column else "/columns"
    return Problem(422, wrong.code, wrong.detail, [FieldFault(pointer, wrong.code, wrong.detail)])
