"""Erases jobs of asynchronous inference: requests that name the subject, and answers to them."""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from inference.prediction_log.erasure.work import Blocked, Work
from inference.prediction_log.spool.sealing import KeyMissing, Tampered, open_file
from inference.serving.jobs.store import (
    ANSWER,
    DAMAGED,
    JOBS_FOLDER,
    REQUEST,
    JobStore,
    project_of,
    read_answer,
    waiting_callbacks,
)

_PREDICTION_ID = re.compile(r"(?im)^driftline-prediction-id:[ \t]*(\S+)")


def erase_requests(work: Work) -> None:
    """Erase the jobs that wait with the subject in their request; one that is being run ends first.

    It comes before the spool is waited for: a job that has run is in there.
    """
    busy = False
    for folder in _folders(work, "open", "ended"):
        for name in (REQUEST, ANSWER):
            if work.subject.is_in_bytes(_content(folder / name)):
                busy |= not _remove(work, folder)
                break
    if busy:
        raise Blocked("a job of asynchronous inference that is being run")


def erase_answers(work: Work) -> None:
    """Erase the answers to requests whose rows went, the callbacks that tell of them, and what was set aside."""
    for folder in _folders(work, "ended"):
        if _is_answer_to(work, folder):
            _remove(work, folder)
    for path, callback in waiting_callbacks(settings.HOME):
        is_ours = callback.job.project_id == work.project.pk
        if is_ours and (
            callback.job.prediction_id in work.subject.request_ids or work.subject.is_in_bytes(_content(path))
        ):
            path.unlink(missing_ok=True)
            work.count(callbacks=1)
    for path in (settings.HOME / JOBS_FOLDER).rglob("*"):
        if _is_set_aside(path) and work.subject.is_in_bytes(_content(path)):
            path.unlink(missing_ok=True)
            work.count(set_aside=1)


def _is_answer_to(work: Work, folder: Path) -> bool:
    try:
        fields = read_answer(settings.HOME, folder).ended.fields
    except (FileNotFoundError, *DAMAGED):
        return False
    return any(id_ in work.subject.request_ids for id_ in _PREDICTION_ID.findall(fields))


def _is_set_aside(path: Path) -> bool:
    """Return whether a file lies in a draft, or in what was deleted or found damaged, whosever it was."""
    inside = path.relative_to(settings.HOME / JOBS_FOLDER).parts
    return path.is_file() and any(part.startswith(".") for part in inside)


def _folders(work: Work, *parents: str) -> Iterator[Path]:
    for parent in parents:
        folder = settings.HOME / JOBS_FOLDER / parent
        for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
            if project_of(name) == work.project.pk:
                yield folder / name


def _content(path: Path) -> bytes:
    """Read a file of a job, opened where it is sealed; one that was changed says nothing to anybody."""
    try:
        return open_file(settings.HOME, path.read_bytes())
    except (FileNotFoundError, Tampered):
        return b""  # it moved on meanwhile
    except KeyMissing as error:
        raise Blocked("the key of a job of asynchronous inference") from error


def _remove(work: Work, folder: Path) -> bool:
    """Forget a job that nobody runs; False where somebody does."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError):
            request = stack.enter_context((folder / REQUEST).open("rb"))
            try:
                fcntl.flock(request, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        store = JobStore(settings.HOME, sync=True, keep_seconds=settings.JOB_KEEP_SECONDS)
        _, _, job_id = folder.name.partition("-")
        if store.delete(work.project.pk, job_id) is not None:
            work.count(jobs=1)
    return True
