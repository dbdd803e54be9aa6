"""Writes one file of a lake: all rows that the log holds of its part of a day, with their labels, in one step."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from tempfile import TemporaryFile
from typing import IO, Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Coalesce, Now

from driftline.base.work.advisory_locks import AdvisoryLock, lock
from driftline.base.work.lease import Lease
from driftline.base.work.leased_work import WorkLease, attempt, shortened
from inference.connectors.failure import ConnectorFailed
from inference.connectors.objects.remote_store import check_room
from inference.prediction_log.lake.days import rewritten_at
from inference.prediction_log.lake.models import Lake, LakeFile
from inference.prediction_log.lake.parts import divide
from inference.prediction_log.lake.stores.marker import check_marker
from inference.prediction_log.lake.stores.store import LakeStore, open_lake, settings_of
from inference.prediction_log.queries.exports import Exported, Wanted, write_rows
from inference.prediction_log.retention.drop_rows import summary_only_features
from inference.prediction_log.storage.snapshot import one_snapshot

RETRIED_AFTER = timedelta(minutes=1)
"""Nothing is written for so long to a lake that could not be written to."""
PARTITION_COLUMNS = ("model", "date")
"""Readers make columns of these names from the path of a file."""


def write_lake_file(file_id: int) -> bool:
    """Write a file, in a worker; returns whether it was to be written."""
    return attempt(LakeFile.objects.filter(pk=file_id), _write)


def _write(lease: WorkLease[LakeFile]) -> None:
    file = lease.read()
    lake = Lake.objects.filter(project=file.model.project_id).first()
    if lake is None:
        lease.finish(LakeFile.State.DONE)
        return
    try:
        with opened(lake) as store:
            _write_to(store, settings_of(lake).name_of(file.path), file, lease)
    except ConnectorFailed as error:
        note_failing(lake, str(error))
        lease.release(error=shortened(str(error)), due_at=Now() + RETRIED_AFTER)  # other files come first
        return
    note_working(lake)


def _write_to(store: LakeStore, name: str, file: LakeFile, lease: WorkLease[LakeFile]) -> None:
    size = divide(file, lease)
    if size is None:
        return
    check_room(str(file), size)
    with drafted(store, name, file, lease) as draft, TemporaryFile(dir=settings.HOME) as content:
        exported = _export(file, content)

        def finish(present: LakeFile, values: dict[str, Any]) -> None:
            values |= {"rows": exported.rows, "unreadable_rows": _count_unreadable(exported, file)}
            values["end_second"] = file.end_second
            if present.generation == file.generation:
                lease.finish(LakeFile.State.DONE, **values)
            else:  # more was logged meanwhile
                lease.release(**values, error="", due_at=rewritten_at(present.model, Now()))

        may_be_there = file.written_at is not None or file.draft != ""  # by a worker that was killed
        if exported.rows or may_be_there:
            put(send(store, name, draft, content), lease, finish)
            return
        store.discard(name, draft)
        with lease.fenced() as present:
            finish(present, {"draft": ""})


def _export(file: LakeFile, content: IO[bytes]) -> Exported:
    with one_snapshot():
        wanted = Wanted(file.model, file.start, file.end)
        dropped = summary_only_features(file.model)  # the log has their values until a row is summarised
        return write_rows(wanted, content, reserved=PARTITION_COLUMNS, without=dropped)


def _count_unreadable(exported: Exported, file: LakeFile) -> int:
    """Count the rows of each damaged chunk in the file of the part that it begins in: others may overlap it too."""
    begun = (chunk for chunk in exported.unreadable if datetime.fromisoformat(chunk["from"]) >= file.start)
    return sum(chunk["rows"] for chunk in begun)


# -- drafts ------------------------------------------------------------------------------------------------------------
@contextmanager
def drafted(store: LakeStore, name: str, file: LakeFile, lease: Lease[LakeFile]) -> Iterator[str]:
    """Begin a draft, and note it so that it is removed where this worker is killed; removes that of one before.

    There is a note from here on until the file is in its place: without one nobody would look for it. The draft is
    removed at once where the block fails, also because the lease is lost: the row may be deleted, and with it the note.
    """
    if file.draft:
        store.discard(name, file.draft)
    draft = store.begin(name)
    try:
        lease.write(draft=draft)
        yield draft
    except Exception:
        with suppress(ConnectorFailed):
            store.discard(name, draft)
        raise


@dataclass(frozen=True)
class SentDraft:
    """The content of a file, which lies in the lake and is not in its place yet."""

    store: LakeStore
    name: str
    draft: str
    parts: Sequence[str]
    size_bytes: int

    def commit(self) -> None:
        self.store.commit(self.name, self.draft, self.parts)


def send(store: LakeStore, name: str, draft: str, content: IO[bytes]) -> SentDraft:
    """Send the content of a file, which takes as long as the file is large: call it outside transactions."""
    size = content.seek(0, 2)
    content.seek(0)
    return SentDraft(store, name, draft, store.send(name, draft, content), size)


def put(sent: SentDraft, lease: Lease[LakeFile], finish: Callable[[LakeFile, dict[str, Any]], None]) -> None:
    """Put a file in its place, and have `finish` write what follows in the same commit.

    The lock keeps a worker that lost its lease from putting an older content over a newer one. The row is not locked
    while the lake is waited for: whoever notes a change of the day holds locks that writers of the model wait for. A
    worker that is killed between the two leaves the file in its place, and the next puts the same there again.
    """
    with transaction.atomic():
        lock(AdvisoryLock.LAKE_FILES, lease.read().model.project_id)
        lease.read()  # which may have been lost while another worker had the lock
        sent.commit()
        with lease.fenced() as present:
            finish(present, {"draft": "", "size_bytes": sent.size_bytes, "written_at": Now()})


# -- the state of a lake -----------------------------------------------------------------------------------------------
@contextmanager
def opened(lake: Lake) -> Iterator[LakeStore]:
    """Open a lake until the block ends; raises ConnectorFailed, also where its files are not."""
    with closing(open_lake(lake)) as store:
        check_marker(store, lake)
        yield store


def note_failing(lake: Lake, reason: str) -> None:
    """Keep why a lake could not be written to, and since when, and leave it alone for a while."""
    Lake.objects.filter(pk=lake.pk).update(
        error=shortened(reason),
        failing_since=Coalesce("failing_since", Now()),
        retry_at=Now() + RETRIED_AFTER,
    )


def note_working(lake: Lake) -> None:
    """Forget that a lake could not be written to."""
    Lake.objects.filter(pk=lake.pk).exclude(failing_since=None).update(
        error="", failing_since=None, retry_at=None
    )
