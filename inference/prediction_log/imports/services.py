"""Starts, resumes and cancels imports."""

import errno
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q

from driftline.base.accounts.quotas import refuse_full
from driftline.base.accounts.services import record_audit
from driftline.base.clock import now
from driftline.base.errors import Problem, invalid
from driftline.base.http.uploads import MAX_UPLOAD_BYTES, receive_file
from driftline.base.processes.machine_paths import without_folders
from driftline.base.strict_json import printable
from driftline.base.work.lease import LeaseLost
from driftline.base.work.leased_work import LeasedQuerySet, WorkLease
from driftline.base.work.task_queue import Task, enqueue
from inference.data_files.columns import ColumnRole, FileReading
from inference.data_files.formats import FileFormat, UnreadableText
from inference.data_files.preview import UnreadableHead, transcode
from inference.data_files.unseen import reading_as_named
from inference.prediction_log.imports import bad_rows, engine, removal, staging
from inference.prediction_log.imports.lease import BeingWorkedOn, leased
from inference.prediction_log.imports.models import UNFINISHED, Import, UploadedFile
from inference.prediction_log.imports.reading.csv_source import examine_csv
from inference.prediction_log.imports.reading.formats import open_source
from inference.prediction_log.imports.reading.layout import (
    FileLayout,
    layout_of_labels,
    layout_of_predictions,
)
from inference.prediction_log.imports.reading.predictions import Reading, read_predictions
from inference.prediction_log.imports.reading.source import RowSource, UnreadableFile
from inference.prediction_log.rows.sent_items import Refused, check_version
from inference.prediction_log.rows_kept import refuse_without_rows
from inference.registry.models import Model

SLICE_S = 30.0  # then other work of the worker gets its turn
LEFT_OVER_AFTER_S = 86_400.0
ARRIVING = ".arriving-"
_OTHER_FORMATS = {
    b"PK\x03\x04": "zip or xlsx",
    b"ARROW1": "Arrow IPC",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xd0\xcf\x11\xe0": "xls",
}


@dataclass(frozen=True)
class FileSender:
    """Who sends a file, as audit rows and labels name them."""

    actor: str
    source: str = ""


# -- starting ----------------------------------------------------------------------------------------------------------
def import_upload(
    *, model: Model, kind: str, stream: IO[bytes], name: str, version: str, sender: FileSender,
    allow: Callable[[FileLayout], None] = lambda _: None, force: bool = False,
) -> tuple[Import, bool]:  # fmt: skip
    """Keep an uploaded file and let a worker import it; tells whether it is new.

    A file that is being imported, or was, is not imported twice: its import is given. With `force` one that was is
    imported again. `allow` may refuse what the columns ask for.
    """
    with (
        _refuse_full_disk(),
        tempfile.NamedTemporaryFile(dir=bad_rows.folder(), prefix=ARRIVING, delete=False) as file,
    ):
        path = Path(file.name)
        try:
            digest = _spill(stream, file.file)
            reading = _reading_as_named(path)
            to_utf_8(path, reading)
            job, is_new = _start(
                model, kind, path, digest, name, version, sender,
                allow=allow, is_upload=True, force=force, reading=reading,
            )  # fmt: skip
        finally:
            if not Import.objects.filter(path=_relative(path)).exists():
                path.unlink(missing_ok=True)
    return job, is_new


def import_file(
    *, model: Model, kind: str, path: Path, version: str, sender: FileSender, force: bool = False
) -> tuple[Import, bool]:
    """Start to import a file that stays where it is, or find the import of it that is under way or done.

    With `force` one that is done is begun again.
    """
    if not path.is_file():
        raise Problem(422, "no_file", f"There is no file {path}.")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    reading = _reading_as_named(path)
    if reading and reading.format.encoding != "utf-8":
        detail = (
            f"The file is in {reading.format.encoding}; save it in UTF-8, or upload it on the page Import."
        )
        raise Problem(422, "invalid_encoding", detail)
    return _start(
        model, kind, path.resolve(), digest, path.name, version, sender,
        is_upload=False, force=force, reading=reading,
    )  # fmt: skip


def import_read_file(
    *, model: Model, kind: str, path: Path, digest: str, name: str, version: str, sender: FileSender,
    reading: FileReading, allow: Callable[[FileLayout], None] = lambda _: None, force: bool = False,
) -> tuple[Import, bool]:  # fmt: skip
    """Start to import a file in UTF-8 that Driftline has in its folder of imports, as `reading` says.

    A new import takes the file; else its owner removes it.
    """
    return _start(
        model, kind, path, digest, name, version, sender,
        allow=allow, is_upload=True, force=force, reading=reading,
    )  # fmt: skip


def _start(
    model: Model, kind: str, path: Path, digest: str, name: str, version: str, sender: FileSender, *,
    is_upload: bool, force: bool, reading: FileReading | None,
    allow: Callable[[FileLayout], None] = lambda _: None,
) -> tuple[Import, bool]:  # fmt: skip
    if (running := _unfinished(model, kind, digest)) is not None:
        return _same(running, version, path, is_upload), False
    refuse_full(model.project)
    version = _version(model, version)
    file_format = _format(path)
    source = _examine(path, file_format, reading)
    layout = _layout(model, kind, source, reading)
    if "label" in layout.own:
        refuse_without_rows(model, "A label")
    allow(layout)
    job = Import(
        model=model, kind=kind, file_name=printable(name), path=_relative(path), is_upload=is_upload, sha256=digest,
        size=path.stat().st_size, format=file_format, layout=msgspec.to_builtins(layout), version=version,
        total=source.total, created_by=sender.actor, source=sender.source,
        reading=None if reading is None else msgspec.to_builtins(reading),
    )  # fmt: skip
    if not force and (done := _done_alike(job)) is not None:
        return done, False
    _try_first_rows(job, source, layout)
    return _create(job)


def _layout(model: Model, kind: str, source: RowSource, reading: FileReading | None) -> FileLayout:
    sample = source.sample()
    layout = layout_of_labels(sample) if kind == Import.Kind.LABELS else layout_of_predictions(model, sample)
    if reading is None or not reading.columns:
        return layout
    ignored = [name for name, role in reading.columns.items() if role == ColumnRole.IGNORED]
    return msgspec.structs.replace(layout, ignored=[*layout.ignored, *ignored])


def _create(job: Import) -> tuple[Import, bool]:
    try:
        with transaction.atomic():
            job.save()
            record_audit(
                project=job.model.project,
                actor=job.created_by,
                action=f"import.{job.kind}",
                subject=job.model.name,
                after={"import": job.pk, "sha256": job.sha256, "size": job.size},
            )
            if job.is_upload:
                enqueue(Task.LONG_WORK)
    except IntegrityError:
        running = _unfinished(job.model, job.kind, job.sha256)
        if running is None:
            raise
        return running, False
    return job, True


def _unfinished(model: Model, kind: str, digest: str) -> Import | None:
    return Import.objects.filter(model=model, kind=kind, sha256=digest, state__in=UNFINISHED).first()


def _done_alike(job: Import) -> Import | None:
    """Find the newest import that brought the same bytes into the log in the same way, to its end."""
    read_alike = Q(reading__isnull=True) if job.reading is None else Q(reading=job.reading)
    alike = Import.objects.filter(
        read_alike, model=job.model, kind=job.kind, sha256=job.sha256, version=job.version, layout=job.layout
    )
    return alike.filter(state=Import.State.DONE).order_by("-pk").first()


def _same(running: Import, version: str, path: Path, is_upload: bool) -> Import:
    """Return the import that this file has; a file that its owner moved is read from where it is now."""
    if running.is_being_removed:
        raise Problem(
            409,
            "import_running",
            f"The rows of {running} are being removed; send the file again when that is done.",
        )
    if version and version != running.version:
        raise Problem(
            409,
            "import_running",
            f"{str(running).capitalize()} takes the same file for version {running.version}; let it end or cancel it.",
        )
    if not is_upload and not running.is_upload:
        running.path = _relative(path)
        running.save(update_fields=["path"])
    return running


def _version(model: Model, version: str) -> str:
    champion = model.deployment.champion
    name = version or (champion.version if champion else "1")
    try:
        check_version(name)
    except Refused as refused:
        raise invalid("/version", refused.detail, refused.code) from refused
    return name


def _relative(path: Path) -> str:
    return str(path.relative_to(settings.HOME)) if path.is_relative_to(settings.HOME) else str(path)


# -- the file ----------------------------------------------------------------------------------------------------------
def _spill(stream: IO[bytes], file: IO[bytes]) -> str:
    detail = f"An upload has up to {MAX_UPLOAD_BYTES >> 30} GiB; larger files: manage.py import_predictions."
    digest, _ = receive_file(stream, file, too_large=Problem(413, "body_too_large", detail))
    os.fsync(file.fileno())
    return digest


def _format(path: Path) -> str:
    with path.open("rb") as file:
        magic = file.read(8)
    if not magic:
        raise _no_rows("The file is empty")
    for start, what in _OTHER_FORMATS.items():
        if magic.startswith(start):
            raise Problem(415, "unsupported_media_type", f"This is {what}; send CSV in UTF-8, or Parquet.")
    return "parquet" if magic.startswith(b"PAR1") else "csv"


def _reading_as_named(path: Path) -> FileReading | None:
    try:
        return reading_as_named(path)
    except UnreadableHead as error:
        raise Problem(422, error.code, error.detail) from error


def to_utf_8(path: Path, reading: FileReading | None) -> None:
    """Write a file in UTF-8 in its place, if it is in another encoding; raises Problem."""
    if reading is None or reading.format.encoding == "utf-8":
        return
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=ARRIVING, delete=False) as file:
        draft = Path(file.name)
        try:
            with path.open("rb") as source:
                transcode(source, file.file, reading.format.encoding)
            file.flush()
            os.fsync(file.fileno())
            draft.replace(path)
        except UnreadableText as error:
            raise Problem(422, "invalid_encoding", str(error)) from error
        finally:
            draft.unlink(missing_ok=True)


def _examine(path: Path, file_format: str, reading: FileReading | None) -> RowSource:
    source = open_source(path, file_format, reading)
    written = FileFormat() if reading is None else reading.format
    rows = source.total
    if file_format == "csv":
        rows = examine_csv(path, written.delimiter) - written.has_header
    if rows < 1:
        raise _no_rows("The file has columns but no rows")
    return source


def _no_rows(what: str) -> Problem:
    return Problem(422, "no_rows", f"{what}; send a header and rows.")


def _try_first_rows(job: Import, source: RowSource, layout: FileLayout) -> None:
    """Refuse a CSV of whose first rows none can be kept: that is a mistake of the file, not of rows."""
    if job.format != "csv" or job.kind != Import.Kind.PREDICTIONS:
        return
    block = next(source.blocks(source.start, layout.types(job.model.task)), None)
    if block is None or not block.table.num_rows:
        return
    reading = Reading(layout, job.model.task, job.version, job.sha256, now())
    try:
        refusals = read_predictions(block, reading).refusals
    except UnreadableFile as error:
        raise Problem(422, "invalid_csv", str(error)) from error
    if len(refusals.faults) == refusals.rows:
        row, fault = min(refusals.faults.items())
        raise invalid(
            f"/{fault.column}",
            f"None of the first {refusals.rows:,} rows can be kept; row {int(block.places[row]) + 1}: {fault.detail}",
            fault.code,
        )


@contextmanager
def _refuse_full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Problem(
                507, "insufficient_storage", "The disk is full; make room and send the file again."
            ) from error
        raise


# -- resuming ---------------------------------------------------------------------------------------------------------
def resume_import(import_id: int) -> None:
    """Import for a while, in a worker; what is left then waits for its next turn."""
    deadline = time.monotonic() + SLICE_S
    with suppress(BeingWorkedOn, LeaseLost):
        run(import_id, stop=lambda _: time.monotonic() > deadline)


def resumable_imports() -> LeasedQuerySet[Import]:
    """Select the imports that wait for a worker; a file of its owner's is read by who imports it."""
    return Import.objects.filter(Q(is_upload=True) | Q(removed_bytes__isnull=False)).waiting()


def run(import_id: int, *, stop: Callable[[Import], bool]) -> Import:
    """Import until the file ends or `stop` says so; raises BeingWorkedOn or LeaseLost.

    A file that cannot be read fails the import; whatever else goes wrong is tried again, a few times without progress.
    """
    with leased(import_id) as lease:
        try:
            with lease.renewed():
                is_undone = lease.read().is_being_removed
                job = (removal.remove_rows if is_undone else engine.import_blocks)(lease, stop=stop)
        except (UnreadableFile, Problem, FileNotFoundError) as error:
            return _fail(lease, without_folders(str(error)))
        except KeyboardInterrupt:
            lease.release()
            raise
        except LeaseLost:
            raise
        except Exception as error:
            lease.note_failure(without_folders(f"{type(error).__name__}: {error}"))
            raise
        if job.is_unfinished:
            lease.release()
        else:
            _remove_upload(job)
    return job


def _fail(lease: WorkLease[Import], reason: str) -> Import:
    lease.fail(reason)
    job = Import.objects.get(pk=lease.pk)
    _remove_upload(job)
    return job


def cancel(*, job: Import, actor: str) -> Import:
    """End an unfinished import; the rows that are in the log stay."""
    with transaction.atomic():
        locked = (
            Import.objects.select_for_update(of=("self",)).select_related("model__project").get(pk=job.pk)
        )
        if not locked.is_unfinished or locked.is_being_removed:
            raise Problem(
                409,
                "import_finished",
                f"{str(locked).capitalize()} is {locked.state}; there is nothing to cancel.",
            )
        locked.state, locked.lease_until, locked.lease_token = Import.State.CANCELLED, None, None
        locked.finished_at = now()
        locked.save()
        record_audit(
            project=locked.model.project, actor=actor, action="import.cancel", subject=locked.model.name,
            after={"import": locked.pk, "rows": locked.rows},
        )  # fmt: skip
    _remove_upload(locked)
    return locked


def _remove_upload(job: Import) -> None:
    if job.is_upload:
        (settings.HOME / job.path).unlink(missing_ok=True)


def remove_leftovers() -> int:
    """Remove what killed uploads left behind and bad rows that were kept long enough; returns how many files."""
    removed = 0
    kept_s = bad_rows.KEPT_FOR.total_seconds()
    ages = {f"{ARRIVING}*": LEFT_OVER_AFTER_S, "*-bad-rows.csv": kept_s, "*-rows": kept_s}
    in_use = set(Import.objects.filter(state__in=UNFINISHED).values_list("path", flat=True))
    staging.remove_forgotten()
    in_use |= set(UploadedFile.objects.exclude(path="").values_list("path", flat=True))
    for pattern, age in ages.items():
        for path in bad_rows.folder().glob(pattern):
            with suppress(FileNotFoundError):
                if _relative(path) not in in_use and time.time() - path.stat().st_mtime > age:
                    path.unlink()
                    removed += 1
    return removed
