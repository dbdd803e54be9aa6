"""Which objects are yet to be read: a pass over a listing, page by page, beside a compact table of what was read."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db.models.functions import Now

from inference.connectors.objects.settings import MAX_PATH_BYTES
from inference.connectors.objects.store import ObjectInfo, ObjectStore
from inference.prediction_log.sources.models import SourceObject
from inference.prediction_log.sources.objects.progress import forget_missing
from inference.prediction_log.sources.objects.settings import ObjectsSettings
from inference.prediction_log.sources.reading.positions import clear_notice, set_notice

MAX_WAITING = 10_000
"""Objects that are remembered from one pass; those beyond are counted, and found again by the next."""

HOW_TO_READ_AGAIN = "the setting reread_changed has changed objects read anew."


@dataclass
class Pass:
    """One pass over the listing of a store; `waiting` are the first objects that are to be read."""

    source_id: int
    settings: ObjectsSettings
    store: ObjectStore
    waiting: list[ObjectInfo] = field(default_factory=list)
    unread: int = 0
    is_over: bool = False
    _after: str = ""
    _replaced: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._pages = self.store.pages()

    def step(self) -> None:
        """Compare the next page; raises ConnectorFailed, and errors of the database."""
        page = next(self._pages, None)
        if page is None:
            self._end()
            return
        page = [one for one in page if _is_object(one)]
        if not page:
            return
        known = {
            one.path: one
            for one in SourceObject.objects.filter(
                source_id=self.source_id, path__in=[one.path for one in page]
            )
        }
        self._note_missing(page, until=page[-1].path)
        for info in page:
            if self.settings.format_of(info.path) and self._is_unread(info, known.get(info.path)):
                self.unread += 1
                if len(self.waiting) < MAX_WAITING:
                    self.waiting.append(info)

    def _is_unread(self, info: ObjectInfo, known: SourceObject | None) -> bool:
        """Return whether an object is to be read; one that was replaced after it was read is said once instead."""
        if known is None or known.finished_at is None:
            return True
        if known.etag == info.etag:
            return False
        if self.settings.reread_changed or not known.is_whole:
            return True
        if known.etag != (passed := _passed_version(info.etag)):
            SourceObject.objects.filter(pk=known.pk, etag=known.etag).update(etag=passed)
            self._replaced.append(info.path)
        return False

    def _note_missing(self, page: Sequence[ObjectInfo], until: str | None) -> None:
        """Note since when objects between the former page and the end of this one are not listed any more."""
        found = SourceObject.objects.filter(source_id=self.source_id, path__gt=self._after)
        if until is not None:
            found, self._after = found.filter(path__lte=until), until
        paths = [one.path for one in page]
        found.filter(missing_since=None).exclude(path__in=paths).update(missing_since=Now())
        found.filter(path__in=paths).exclude(missing_since=None).update(missing_since=None)

    def _end(self) -> None:
        self._note_missing([], until=None)
        forget_missing(self.source_id)
        if self._replaced:
            first, others = self._replaced[0], len(self._replaced) - 1
            more = f" and {others:,} more" if others else ""
            set_notice(
                self.source_id,
                f"{first}{more} changed after being read, and {'are' if others else 'is'} not read again; "
                + HOW_TO_READ_AGAIN,
            )
        if self.settings.reread_changed:
            clear_notice(self.source_id, ending=HOW_TO_READ_AGAIN)
        if folder := self.store.unlisted():
            set_notice(
                self.source_id,
                f"{folder} cannot be listed, so nothing below it is read; allow this server to.",
            )
        self.is_over = True


def _passed_version(etag: str) -> str:
    """Name a version that was noticed and not read; no store calls one so, so it can still be read later."""
    return f"not read: {hashlib.sha256(etag.encode()).hexdigest()}"


def _is_object(info: ObjectInfo) -> bool:
    """Return whether a listed name is an object that can be noted: no folder, and no name of control characters."""
    path = info.path
    return (
        not path.endswith("/")
        and "\x00" not in path
        and 0 < len(path.encode(errors="replace")) <= MAX_PATH_BYTES
    )
