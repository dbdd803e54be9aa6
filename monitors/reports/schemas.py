"""What the API answers about reports."""

from typing import Annotated, Self

from msgspec import UNSET, UnsetType, field

from driftline.base.http.responses import ResponseBody, Time, one_of
from monitors.reports.choices import SEED
from monitors.reports.models import Preset, Report


class ReportReferenceOut(ResponseBody, frozen=True):
    """What a report compares with: a stored reference by its id, or the log's rows of a period."""

    id: int | UnsetType = UNSET
    version: str | UnsetType = UNSET
    start: Time | UnsetType = field(name="from", default=UNSET)
    end: Time | UnsetType = field(name="to", default=UNSET)

    @classmethod
    def of(cls, report: Report) -> Self | None:
        if report.reference_start and report.reference_end:
            return cls(start=report.reference_start, end=report.reference_end)
        if report.reference:
            return cls(id=report.reference.pk, version=report.reference.version.version)
        return None


class ReportOut(ResponseBody, frozen=True):
    """A report by Evidently or an evidence pack: what it is about, how far it is, what it lacks; `size` in bytes."""

    id: int
    preset: Annotated[str, one_of(Preset)]
    state: Annotated[str, one_of(Report.State)]
    stage: str | None
    progress: float
    start: Time = field(name="from")
    end: Time = field(name="to")
    version: str | None
    segment: str | None
    reference: ReportReferenceOut | None
    num_method: str | None
    cat_method: str | None
    text_method: str | None
    rows: int | None
    rows_used: int | None
    reference_rows: int | None
    reference_rows_used: int | None
    seed: int
    left_out: list[str]
    size: int
    error: str | None
    created_at: Time
    created_by: str
    finished_at: Time | None

    @classmethod
    def of(cls, report: Report) -> Self:
        """Write a report of a queryset that is ready for it: `selectors.reports_of`."""
        return cls(
            id=report.pk,
            preset=report.preset,
            state=report.state,
            stage=report.stage if report.state == Report.State.RUNNING else None,
            progress=round(report.progress, 3),
            start=report.start,
            end=report.end,
            version=report.version.version if report.version else None,
            segment=report.segment or None,
            reference=ReportReferenceOut.of(report),
            num_method=report.num_method or None,
            cat_method=report.cat_method or None,
            text_method=report.text_method or None,
            rows=report.rows,
            rows_used=report.rows_used,
            reference_rows=report.reference_rows,
            reference_rows_used=report.reference_rows_used,
            seed=SEED,
            left_out=report.left_out,
            size=report.size,
            error=report.error or None,
            created_at=report.created_at,
            created_by=report.created_by,
            finished_at=report.finished_at,
        )
