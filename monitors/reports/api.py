"""Evidently's reports over HTTP."""

from typing import Any

from django.conf import settings
from django.http import FileResponse, HttpRequest
from ninja import Router
from ninja.responses import Status
from pydantic import Field

from driftline.accounts.http_auth import Scoped, caller_of
from driftline.common.bodies import Body, Moment
from driftline.common.errors import Problem, not_found
from driftline.common.paging import PAGE_SIZE, page
from driftline.common.periods import rfc3339
from inference.registry.selectors import get_model
from monitors.reports.models import Report
from monitors.reports.services import request_report

router = Router(tags=["monitoring"])


class NewReport(Body):
    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")


@router.post("/models/{name}/reports", auth=Scoped("write"), response={202: dict[str, Any]})
def create_report(request: HttpRequest, name: str, body: NewReport) -> Any:
    """Ask for Evidently's drift report of a period; a worker builds it."""
    caller = caller_of(request)
    model = get_model(project=caller.project, name=name)
    report = request_report(model=model, start=body.start, end=body.end, actor=caller.actor)
    return Status(202, describe_report(report))


@router.get("/models/{name}/reports", auth=Scoped("read"))
def list_reports(request: HttpRequest, name: str, cursor: str = "", limit: int = PAGE_SIZE) -> Any:
    """List a model's reports, newest first."""
    model = get_model(project=caller_of(request).project, name=name)
    return page(model.reports.all(), describe_report, by=("-pk",), cursor=cursor, limit=limit)


@router.get("/models/{name}/reports/{int:report_id}", auth=Scoped("read"))
def read_report(request: HttpRequest, name: str, report_id: int) -> Any:
    """Tell whether a report is ready."""
    return describe_report(_find(request, name, report_id))


@router.get("/models/{name}/reports/{int:report_id}/file", auth=Scoped("read"))
def read_report_file(request: HttpRequest, name: str, report_id: int) -> Any:
    """Download a report that is ready. Its scripts may not reach this server: it comes in a sandbox of its own."""
    report = _find(request, name, report_id)
    if report.state != Report.State.READY:
        raise Problem(409, "report_not_ready", f"The report is {report.state}; read it again later.")
    file = (settings.HOME / report.path).open("rb")
    response = FileResponse(
        file, as_attachment=True, filename=f"{name}-drift-{report.pk}.html", content_type="text/html"
    )
    response["Content-Security-Policy"] = "sandbox allow-scripts"
    return response


def describe_report(report: Report) -> dict[str, Any]:
    """Write a report as the API gives it."""
    return {
        "id": report.pk,
        "state": report.state,
        "from": rfc3339(report.start),
        "to": rfc3339(report.end),
        "size": report.size,
        "error": report.error or None,
        "created_at": rfc3339(report.created_at),
        "created_by": report.created_by,
    }


def _find(request: HttpRequest, name: str, report_id: int) -> Report:
    model = get_model(project=caller_of(request).project, name=name)
    report = model.reports.filter(pk=report_id).first()
    if report is None:
        raise not_found("report")
    return report
