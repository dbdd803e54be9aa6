"""Evidently's reports and evidence packs over HTTP."""

from typing import Literal

from django.http import HttpRequest
from ninja import Router
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.errors import invalid
from driftline.base.http.bodies import Body, Moment
from driftline.base.http.downloads import Download, whole_file
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.request_values import refuse_parameter
from driftline.base.http.responses import Page, files
from driftline.base.periods import Period
from inference.registry.selectors import get_model
from monitors.reports.choices import METHODS
from monitors.reports.files import ReportFormat, formats_of
from monitors.reports.models import Preset, Report
from monitors.reports.schemas import ReportOut
from monitors.reports.selectors import get_report, open_report, reports_of, right_of
from monitors.reports.services import (
    ReportRequest,
    delete_report,
    request_evidence,
    request_report,
    retry_report,
)

router = Router(tags=["monitoring"])

SANDBOX = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; frame-ancestors 'self'"
)
"""A report's scripts run without this origin: they reach neither its cookies nor any server."""


class NewReport(Body):
    preset: Literal["data_drift", "data_summary", "classification", "regression", "evidence"] = "data_drift"
    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")
    version: str = Field("", max_length=64)
    segment: str = Field("", max_length=300)
    reference: str = Field("active", max_length=20, description="active, none, period, or a reference's id")
    reference_from: Moment | None = None
    reference_to: Moment | None = None
    num_method: str = Field("", max_length=30)
    cat_method: str = Field("", max_length=30)
    text_method: str = Field("", max_length=30)


@router.post("/models/{name}/reports", auth=Scoped(SCOPE_OF["report"]), response={202: ReportOut})
def create_report(request: HttpRequest, name: str, body: NewReport) -> Status[ReportOut]:
    """Ask for a report by Evidently on a window, or for an evidence pack; a worker builds it.

    `preset` is `data_drift`, `data_summary`, `classification` or `regression`, as the model's task allows. Without
    `version` it is about what callers were answered. `reference` is `active` (the version's newest file), `none` (not
    for drift), `period` (the log's rows from `reference_from` to `reference_to`), or the id of a reference. For drift,
    `num_method`, `cat_method` and `text_method` choose among Evidently's tests.

    `evidence` is a pack of all that is stored of the model in the period, an extract of the audit trail included; it
    takes the scope `admin`, and nothing but `from` and `to`.
    """
    caller = caller_of(request)
    model = get_model(project=caller.project, name=name)
    if body.preset == "evidence":
        caller.check_rights({"/preset": "evidence"})
        _refuse_beside_evidence(body)
        period = Period(body.start, body.end)
        return Status(202, ReportOut.of(request_evidence(model=model, period=period, actor=caller.actor)))
    return Status(
        202, ReportOut.of(request_report(model=model, wanted=_report_request(body), actor=caller.actor))
    )


def _refuse_beside_evidence(body: NewReport) -> None:
    if given := sorted(body.model_fields_set - {"preset", "start", "end"}):
        raise invalid(f"/{given[0]}", f"An evidence pack is about all of the model; leave {given[0]} out.")


def _report_request(body: NewReport) -> ReportRequest:
    has_period = body.reference_from is not None and body.reference_to is not None
    return ReportRequest(
        period=Period(body.start, body.end),
        preset=Preset(body.preset),
        version=body.version,
        segment=body.segment,
        reference=body.reference,
        reference_period=Period(body.reference_from, body.reference_to) if has_period else None,  # type: ignore[arg-type]
        methods={field: getattr(body, field) for field in METHODS},
    )


@router.get("/models/{name}/reports", auth=Scoped(Scope.READ), response=Page[ReportOut])
def list_reports(
    request: HttpRequest, name: str, cursor: str = "", limit: int = PAGE_SIZE
) -> Page[ReportOut]:
    """List a model's reports, newest first."""
    model = get_model(project=caller_of(request).project, name=name)
    return page(reports_of(model), ReportOut.of, by=("-pk",), cursor=cursor, limit=limit)


@router.get("/models/{name}/reports/{int:report_id}", auth=Scoped(Scope.READ), response=ReportOut)
def read_report(request: HttpRequest, name: str, report_id: int) -> ReportOut:
    """Return how far a report is, what it is about, and what it leaves out."""
    return ReportOut.of(_find(request, name, report_id))


@router.delete(
    "/models/{name}/reports/{int:report_id}", auth=Scoped(SCOPE_OF["report"]), response={204: None}
)
def remove_report(request: HttpRequest, name: str, report_id: int) -> Status[None]:
    """Delete a report and its files; one that is being made is stopped."""
    report = _find(request, name, report_id)
    _check_right(request, report)
    delete_report(report=report, actor=caller_of(request).actor)
    return Status(204, None)


@router.post(
    "/models/{name}/reports/{int:report_id}/retry",
    auth=Scoped(SCOPE_OF["report"]),
    response={202: ReportOut},
)
def repeat_report(request: HttpRequest, name: str, report_id: int) -> Status[ReportOut]:
    """Schedule a report that failed to be made again."""
    report = _find(request, name, report_id)
    _check_right(request, report)
    retry_report(report=report, actor=caller_of(request).actor)
    return Status(202, ReportOut.of(_find(request, name, report_id)))


@router.get(
    "/models/{name}/reports/{int:report_id}/file",
    auth=Scoped(Scope.READ),
    openapi_extra=files(*(one.content_type for one in ReportFormat)),
)
def read_report_file(request: HttpRequest, name: str, report_id: int, format: str = "html") -> Download:
    """Download a report that is ready, as `html`, `json` or, of an evidence pack, `pdf`. Scripts run in a sandbox.

    An evidence pack takes the scope `admin`.
    """
    report = _find(request, name, report_id)
    if report.is_evidence:
        _check_right(request, report)
    wanted = _format_of(report, format)
    response = whole_file(
        request,
        open_report(report, wanted),
        name=f"{name}-{report.preset.replace('_', '-')}-{report.pk}.{wanted}",
        content_type=wanted.content_type,
    )
    response["Content-Security-Policy"] = SANDBOX
    return response


def _format_of(report: Report, given: str) -> ReportFormat:
    offered = formats_of(report)
    if given not in offered:
        raise refuse_parameter("format", f"format is {given[:20]!r}; use {' or '.join(offered)}.")
    return ReportFormat(given)


def _check_right(request: HttpRequest, report: Report) -> None:
    caller_of(request).check_rights({"": right_of(report)})


def _find(request: HttpRequest, name: str, report_id: int) -> Report:
    return get_report(model=get_model(project=caller_of(request).project, name=name), report_id=report_id)
