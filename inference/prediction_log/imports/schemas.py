"""What the API answers about imports."""

from typing import Annotated, Any, Self

from driftline.base.http.responses import ResponseBody, Time, one_of
from inference.prediction_log.imports.models import Import


class ImportOut(ResponseBody, frozen=True):
    """A file that is imported, and how far that is; `size` in bytes, `progress` from 0 to 1."""

    id: int
    kind: Annotated[str, one_of(Import.Kind)]
    state: Annotated[str, one_of(Import.State)]
    error: str | None
    file: str
    format: str
    size: int
    sha256: str
    version: str | None
    progress: float
    rows: int
    accepted: int
    duplicates: int
    rejected: int
    labels: int
    bad_rows_kept: int
    features: list[str]
    ignored_columns: list[str]
    created_by: str
    created_at: Time
    started_at: Time | None
    finished_at: Time | None

    @classmethod
    def of(cls, job: Import, **more: Any) -> Self:
        """Write an import, and `more` fields of a subclass."""
        return cls(
            id=job.pk,
            kind=job.kind,
            state=job.state,
            error=job.error or None,
            file=job.file_name,
            format=job.format,
            size=job.size,
            sha256=job.sha256,
            version=job.version or None,
            progress=round(job.share, 4),
            rows=job.rows,
            accepted=job.accepted,
            duplicates=job.duplicates,
            rejected=job.rejected,
            labels=job.labels,
            bad_rows_kept=job.bad_rows,
            features=sorted(job.layout.get("features", {})),
            ignored_columns=job.layout.get("ignored", []),
            created_by=job.created_by,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            **more,
        )


class TakenImportOut(ImportOut, frozen=True):
    """The import that a file started; `existing` where the same file had started it before."""

    existing: bool
