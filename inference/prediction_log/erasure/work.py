"""One erasure in the hands of a worker: its lease, what it found, and what it counted."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from driftline.base.accounts.models import Project
from driftline.base.keys.secrets_at_rest import decrypt, encrypt
from driftline.base.work.leased_work import WorkLease
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.subject import ErasedRow, Subject
from inference.registry.models import Model

SLICE_S = 60.0  # then other work of the worker gets its turn


class SliceOver(Exception):
    """The erasure goes on in another slice, so that other work has its turn."""


class Blocked(Exception):
    """Something has to happen first, which the receipt tells; the erasure is tried again."""


class _Sealed(msgspec.Struct):
    key: str
    rows: list[ErasedRow] = []


def seal(key: str, rows: list[ErasedRow] | None = None) -> bytes:
    """Encrypt what the worker must know of the subject."""
    return encrypt(msgspec.json.encode(_Sealed(key, rows or [])).decode())


@dataclass
class Work:
    """The right to go on with one erasure. Everything is written through `fenced`, which checks that right."""

    lease: WorkLease[Erasure]
    project: Project
    subject: Subject
    progress: dict[str, Any]
    _deadline: float = field(default_factory=lambda: time.monotonic() + SLICE_S)

    @property
    def models(self) -> list[Model]:
        """The project's models: a subject is somebody of a project."""
        return list(Model.objects.filter(project=self.project).order_by("pk"))

    @contextmanager
    def fenced(self) -> Iterator[Erasure]:
        """Open a transaction in which the erasure is locked and its lease renewed; what is changed is saved."""
        with self.lease.fenced() as erasure:
            yield erasure
            erasure.progress = self.progress
            erasure.save(update_fields=["progress", "counts", "sealed", "waiting_for"])

    def count(self, **places: int) -> None:
        """Add to what the receipt tells."""
        if any(places.values()):
            with self.fenced() as erasure:
                add_counts(erasure, places)

    def keep_rows(self, erasure: Erasure, rows: list[ErasedRow]) -> None:
        """Remember rows that go in this transaction: their ids and times tell where else they are."""
        known = set(self.subject.rows)
        self.subject = Subject(
            self.subject.key, self.subject.rows + [row for row in rows if row not in known]
        )
        erasure.sealed = seal(self.subject.key, self.subject.rows)

    def check_deadline(self) -> None:
        """Raise SliceOver when the slice is over."""
        if time.monotonic() > self._deadline:
            raise SliceOver


type Step = Callable[[Work], None]
"""Erases one kind of place. It may be called again, and raises Blocked where something has to happen first."""


def add_counts(erasure: Erasure, places: dict[str, int]) -> None:
    for place, number in places.items():
        if number:
            erasure.counts[place] = erasure.counts.get(place, 0) + number


def work_of(lease: WorkLease[Erasure]) -> Work:
    """Read what the worker that holds an erasure must know of it."""
    erasure = lease.read()
    sealed = msgspec.json.decode(decrypt(erasure.sealed), type=_Sealed)
    return Work(lease, erasure.project, Subject(sealed.key, sealed.rows), erasure.progress)
