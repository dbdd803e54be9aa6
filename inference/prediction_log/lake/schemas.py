"""What the API answers about lakes."""

from datetime import date
from typing import Annotated, Any, Self

from driftline.base.http.responses import ResponseBody, Time, one_of
from inference.prediction_log.lake.models import Lake, LakeFile
from inference.prediction_log.lake.selectors import LakeContent
from inference.prediction_log.lake.stores.store import settings_of


class LakeOut(ResponseBody, frozen=True):
    """The lake of a project without its secret, and what is in it; `settings` is null where there is none.

    `error` says why it could not be written to since `failing_since`; until it can, retention keeps the rows. `due`
    files could be written now, `waiting` ones include those of days that have not ended or were written within
    a day, and `failed` ones are not tried again before somebody asks for it. `unreadable_rows` were damaged in the log.
    """

    location: str | None
    settings: dict[str, Any] | None
    has_secret: bool
    error: str | None
    failing_since: Time | None
    files: int
    rows: int
    size_bytes: int
    unreadable_rows: int
    newest_day: str | None
    written_at: Time | None
    waiting: int
    due: int
    oldest_due: str | None
    failed: int
    created_at: Time | None

    @classmethod
    def of(cls, lake: Lake | None, content: LakeContent) -> Self:
        return cls(
            location=settings_of(lake).location() if lake else None,
            settings=lake.settings if lake else None,
            has_secret=bool(lake and lake.secret),
            error=(lake.error or None) if lake else None,
            failing_since=lake.failing_since if lake else None,
            files=content.files,
            rows=content.rows_written,
            size_bytes=content.bytes_written,
            unreadable_rows=content.rows_unreadable,
            newest_day=_iso(content.newest_day),
            written_at=content.last_written_at,
            waiting=content.waiting,
            due=content.due,
            oldest_due=_iso(content.oldest_due),
            failed=content.failed,
            created_at=lake.created_at if lake else None,
        )


class LakeFileOut(ResponseBody, frozen=True):
    """One file of a lake, of the rows from `start` until before `end`: a day, or a part of one that is large.

    While `open` the log holds its rows too, and it is replaced when they change.
    """

    model: str
    day: str
    start: Time
    end: Time
    path: str
    state: Annotated[str, one_of(LakeFile.State.values)]
    open: bool
    rows: int
    unreadable_rows: int
    size_bytes: int
    written_at: Time | None
    due_at: Time
    error: str | None

    @classmethod
    def of(cls, file: LakeFile) -> Self:
        return cls(
            model=file.model.name,
            day=file.day.isoformat(),
            start=file.start,
            end=file.end,
            path=file.path,
            state=file.state,
            open=file.is_open,
            rows=file.rows,
            unreadable_rows=file.unreadable_rows,
            size_bytes=file.size_bytes,
            written_at=file.written_at,
            due_at=file.due_at,
            error=file.error or None,
        )


def _iso(day: date | None) -> str | None:
    return None if day is None else day.isoformat()
