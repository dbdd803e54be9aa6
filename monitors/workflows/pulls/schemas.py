"""What the API answers about pulls."""

from typing import Annotated, Self

from driftline.base.http.responses import ResponseBody, Time, one_of
from monitors.workflows.pulls.models import Pull


class PullOut(ResponseBody, frozen=True):
    """A pull without its token, and what became of it; `error` says why it waits or failed.

    `url` has no query. `version` and `run` are there as soon as they exist, `commit` once a hub said it.
    """

    id: int
    source: Annotated[str, one_of(Pull.Source)]
    url: str
    repository: str | None
    revision: str | None
    file: str | None
    commit: str | None
    has_token: bool
    sha256: str | None
    starts_run: bool
    state: Annotated[str, one_of(Pull.State)]
    received_bytes: int
    error: str | None
    version: str | None
    run: int | None
    created_by: str
    created_at: Time

    @classmethod
    def of(cls, pull: Pull) -> Self:
        return cls(
            id=pull.pk,
            source=pull.source,
            url=pull.url,
            repository=pull.repository or None,
            revision=pull.revision or None,
            file=pull.file or None,
            commit=pull.commit or None,
            has_token=bool(pull.secret),
            sha256=pull.sha256 or None,
            starts_run=pull.starts_run,
            state=pull.state,
            received_bytes=pull.received_bytes,
            error=pull.error or None,
            version=pull.version.version if pull.version else None,
            run=pull.run.pk if pull.run else None,
            created_by=pull.created_by,
            created_at=pull.created_at,
        )
