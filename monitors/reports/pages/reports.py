"""Reports by Evidently and evidence packs: asked for, followed while a worker makes them, looked at in a sandbox."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.clickjacking import xframe_options_exempt

from driftline.base.errors import Problem
from driftline.base.extras import PDF, describe_missing, is_installed
from driftline.base.http.downloads import Download, whole_file
from driftline.base.periods import Period
from driftline.operations.long_work import wait_of
from driftline.web.pages.access import PageRequest, Visitor, page
from driftline.web.pages.forms import explain
from driftline.web.pages.models.model import frame_of
from driftline.web.pages.timerange import TimeRange
from inference.registry.models import Model, RowsKept
from inference.registry.selectors import find_model
from monitors.reports.api import SANDBOX
from monitors.reports.choices import MAX_ROWS, METHODS, SEED, presets_of
from monitors.reports.files import ReportFormat, formats_of, formats_there
from monitors.reports.models import Preset, Report
from monitors.reports.pages.evidently import is_comparable, verdicts_beside
from monitors.reports.selectors import about, get_report, open_report, reports_of, right_of
from monitors.reports.services import (
    ACTIVE,
    NONE,
    PERIOD,
    ReportRequest,
    delete_report,
    request_evidence,
    request_report,
    retry_report,
)

SHOWN = 50
REFERENCES_SHOWN = 20
_DAY = timedelta(days=1)
_TITLES = {
    "num_method": "Test of numbers",
    "cat_method": "Test of categories",
    "text_method": "Test of texts",
}


class _Date(forms.DateInput):
    input_type = "date"


class ReportForm(forms.Form):
    """What a report is to be about; the choices are the model's."""

    preset = forms.ChoiceField(label="Report")
    start = forms.DateField(label="From", widget=_Date(format="%Y-%m-%d"))
    to = forms.DateField(
        label="To", widget=_Date(format="%Y-%m-%d"), help_text="The last day, included; in UTC."
    )
    version = forms.ChoiceField(required=False, label="Version")
    segment = forms.CharField(
        required=False,
        max_length=300,
        label="Segment",
        help_text="Such as airport:JFK, or a declared one, of either side.",
    )
    reference = forms.ChoiceField(label="Beside")
    reference_from = forms.DateField(
        required=False, label="Other days, from", widget=_Date(format="%Y-%m-%d")
    )
    reference_to = forms.DateField(required=False, label="Other days, to", widget=_Date(format="%Y-%m-%d"))
    num_method = forms.ChoiceField(required=False, label=_TITLES["num_method"])
    cat_method = forms.ChoiceField(required=False, label=_TITLES["cat_method"])
    text_method = forms.ChoiceField(required=False, label=_TITLES["text_method"])

    def __init__(self, model: Model, chosen: TimeRange, data: Any = None) -> None:
        super().__init__(data, initial={"start": chosen.start.date(), "to": chosen.last_day.date()})
        versions = [("", "All that answered callers"), *((v, v) for v in _versions(model))]
        for name, choices in {
            "preset": [(one.value, one.label) for one in presets_of(model.task)],
            "version": versions,
            "reference": _references(model),
            **{name: [("", "Evidently's choice"), *known.items()] for name, known in METHODS.items()},
        }.items():
            self.fields[name].choices = choices  # type: ignore[attr-defined]

    @property
    def methods(self) -> list[forms.BoundField]:
        """Return the fields that concern drift alone."""
        return [self[name] for name in METHODS]

    @property
    def wanted_report(self) -> ReportRequest:
        """Read a valid form."""
        values = self.cleaned_data
        first, last = values["reference_from"], values["reference_to"]
        return ReportRequest(
            period=_period(values["start"], values["to"]),
            preset=values["preset"],
            version=values["version"],
            segment=values["segment"],
            reference=values["reference"],
            reference_period=_period(first, last)
            if values["reference"] == PERIOD and first and last
            else None,
            methods={name: values[name] for name in METHODS}
            if values["preset"] == Preset.DATA_DRIFT
            else None,
        )


class EvidenceForm(forms.Form):
    """Of which days an evidence pack is to be."""

    first = forms.DateField(label="From", widget=_Date(format="%Y-%m-%d"))
    last = forms.DateField(
        label="To", widget=_Date(format="%Y-%m-%d"), help_text="The last day, included; in UTC."
    )

    def __init__(self, chosen: TimeRange, data: Any = None) -> None:
        initial = {"first": chosen.start.date(), "last": chosen.last_day.date()}
        super().__init__(data, initial=initial)

    @property
    def period(self) -> Period:
        """Read a valid form."""
        return _period(self.cleaned_data["first"], self.cleaned_data["last"])


def _period(first: date, last: date) -> Period:
    start, end = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (first, last))
    return Period(start, end + _DAY)


def _versions(model: Model) -> list[str]:
    return list(
        model.versions.filter(archived_at=None).order_by("-pk").values_list("version", flat=True)[:SHOWN]
    )


def _references(model: Model) -> list[tuple[str, str]]:
    files = model.references.filter(dataset__isnull=False, archived_at=None).select_related(
        "version", "dataset"
    )
    given = [
        (str(one.pk), f"Reference {one.pk}: version {one.version.version}, {one.dataset.rows:,} rows")
        for one in files.order_by("-pk")[:REFERENCES_SHOWN]
        if one.dataset
    ]
    in_use = [(ACTIVE, "The newest file of the version")] if given else []
    return [*in_use, (PERIOD, "Other days of the log"), (NONE, "Nothing (not for drift)"), *given]


@page("GET", "POST", writes="report")
def reports(request: PageRequest, name: str) -> HttpResponse:
    """List reports with how far they are, and take an order for one."""
    if request.method == "GET" and request.GET.get("part") == "reports":
        model = find_model(project=request.visitor.project, name=name)
        return render(request, "features/reports/reports_table.html", {"model": model, **_list(model)})
    frame = frame_of(request, name, "reports")
    model = frame["model"]
    if request.POST.get("do") == "evidence":
        return _take_evidence(request, frame)
    form = ReportForm(model, frame["range"], request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            report = request_report(model=model, wanted=form.wanted_report, actor=request.visitor.actor)
        except Problem as problem:
            explain(form, problem)
        else:
            messages.success(request, "The report is being made; you may leave this page.")
            return redirect("report", name=model.name, pk=report.pk)
    return _show_list(request, frame, form, EvidenceForm(frame["range"]))


def _take_evidence(request: PageRequest, frame: dict[str, Any]) -> HttpResponse:
    request.visitor.check_rights({"": "evidence"})
    model, form = frame["model"], EvidenceForm(frame["range"], request.POST)
    if form.is_valid():
        try:
            report = request_evidence(model=model, period=form.period, actor=request.visitor.actor)
        except Problem as problem:
            explain(form, problem)
        else:
            messages.success(request, "The evidence pack is being made; you may leave this page.")
            return redirect("report", name=model.name, pk=report.pk)
    return _show_list(request, frame, ReportForm(model, frame["range"]), form)


def _show_list(
    request: PageRequest, frame: dict[str, Any], form: ReportForm, evidence: EvidenceForm
) -> HttpResponse:
    model = frame["model"]
    frame |= {
        "form": form,
        "evidence": evidence,
        "keeps_no_rows": model.rows_kept == RowsKept.NONE,
        "most_rows": MAX_ROWS,
        "seed": SEED,
        **_list(model),
    }
    has_errors = bool(form.errors or evidence.errors)
    return render(request, "features/reports/reports.html", frame, status=422 if has_errors else 200)


def _list(model: Model) -> dict[str, Any]:
    listed = list(reports_of(model).order_by("-pk")[:SHOWN])
    return {"reports": listed, "is_making": any(one.is_unfinished for one in listed)}


@page("GET", "POST", writes="report")
def report(request: PageRequest, name: str, pk: int) -> HttpResponse:
    """Show one report, or how far it is; a POST tries a failed one again, or deletes any."""
    if request.GET.get("part") == "report":
        model = find_model(project=request.visitor.project, name=name)
        return render(
            request, "features/reports/one.html", {"model": model, **_one(request.visitor, model, pk)}
        )
    if request.GET.get("part") == "beside":
        model = find_model(project=request.visitor.project, name=name)
        found = get_report(model=model, report_id=pk)
        beside = {"model": model, "report": found, "beside": verdicts_beside(found)}
        return render(request, "features/reports/beside_evidently.html", beside)
    frame = frame_of(request, name, "reports")
    frame |= _one(request.visitor, frame["model"], pk)
    if request.GET.get("show") == "beside":
        frame["beside"] = verdicts_beside(frame["report"])
    if request.method == "POST":
        request.visitor.check_rights({"": right_of(frame["report"])})
    wanted = request.POST.get("do")
    if wanted == "delete":
        delete_report(report=frame["report"], actor=request.visitor.actor)
        messages.success(request, f"Report {pk} is deleted.")
        return redirect("reports", name=name)
    if wanted == "retry":
        retry_report(report=frame["report"], actor=request.visitor.actor)
    if request.method == "POST":
        return redirect("report", name=name, pk=pk)
    return render(request, "features/reports/report.html", frame)


def _one(visitor: Visitor, model: Model, pk: int) -> dict[str, Any]:
    report = get_report(model=model, report_id=pk)
    return {
        "report": report,
        "wait": wait_of(report) if report.is_unfinished else None,
        "about": about(report),
        "has_pdf": report.state == Report.State.READY and ReportFormat.PDF in formats_there(report),
        "pdf_missing": "" if is_installed(PDF) else describe_missing(PDF),
        "is_comparable": is_comparable(report),
        "may_change": visitor.may(right_of(report)),
        "may_open": visitor.may("evidence") or not report.is_evidence,
    }


@page("GET")
def delete(request: PageRequest, name: str, pk: int) -> HttpResponse:
    """Show what deleting a report takes along, before it is done on the report's own page."""
    frame = frame_of(request, name, "reports")
    one = get_report(model=frame["model"], report_id=pk)
    frame |= {
        "report": one,
        "title": f"Delete report {pk}",
        "effects": [
            "It is being made, which stops." if one.is_unfinished else "Its files go with it, for everybody.",
            "What it was made of stays; a pack of the same period shows that as it is by then."
            if one.is_evidence
            else "The rows that it is about stay; the same report can be asked for again as long as they do.",
        ],
        "yes": "Yes, delete it",
        "may_confirm": request.visitor.may(right_of(one)),
    }
    return render(request, "features/reports/report_delete.html", frame)


@xframe_options_exempt
@page("GET")
def view(request: PageRequest, name: str, pk: int) -> Download:
    """Return a report to the frame on its page, where its scripts run without this origin.

    An evidence pack takes the right to it; `?download=pdf`, `html` or `json` gives it as a file.
    """
    model: Model = find_model(project=request.visitor.project, name=name)
    found = get_report(model=model, report_id=pk)
    wanted = request.GET.get("download", "")
    if found.is_evidence:
        request.visitor.check_rights({"": "evidence"})
    is_file = wanted in formats_of(found)
    format = ReportFormat(wanted) if is_file else ReportFormat.HTML
    response = whole_file(
        request,
        open_report(found, format),
        name=f"{name}-{found.preset}-{found.pk}.{format}",
        content_type=format.content_type,
        is_attachment=is_file,
    )
    response["Content-Security-Policy"] = SANDBOX
    response["Cache-Control"] = "private, no-store"
    return response
