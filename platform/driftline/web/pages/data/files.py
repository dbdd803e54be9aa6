"""A file that was uploaded, as it will be stored: its columns are chosen here, and nothing is stored before that."""

import zlib
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse

from driftline.base.errors import Problem
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.forms import explain
from driftline.web.pages.models.model import frame_of
from inference.data_files.columns import USED, ColumnRole, FileKind
from inference.data_files.guesses import ColumnGuess
from inference.data_files.preview import Preview
from inference.prediction_log.imports import staging
from inference.prediction_log.imports.confirming import ConfirmedFile, confirm_file
from inference.prediction_log.imports.models import UploadedFile
from inference.prediction_log.imports.reading.layout import FileLayout
from inference.prediction_log.imports.services import FileSender
from inference.prediction_log.imports.staging import ReadingChoice
from inference.registry.models import Model

MAX_CHOSEN = 400  # columns that can be chosen on the page; a form has at most 1,000 fields
MAX_SHOWN = 40  # columns of the rows that are shown
KINDS = [
    (FileKind.PREDICTIONS, "Predictions"),
    (FileKind.LABELS, "Labels"),
    (FileKind.REFERENCE, "A reference: what windows are compared with"),
]
_ENCODINGS = [
    ("utf-8", "UTF-8"),
    ("utf-16-le", "UTF-16 (little-endian)"),
    ("utf-16-be", "UTF-16 (big-endian)"),
    ("cp1252", "Windows-1252 (Western European)"),
    ("latin-1", "Latin-1"),
]
_DELIMITERS = [(",", "Comma ,"), (";", "Semicolon ;"), ("tab", "Tab"), ("|", "Bar |")]
_ROLE_WORDS = {
    ColumnRole.TIMESTAMP: "Timestamp",
    ColumnRole.ID: "Id",
    ColumnRole.LABEL: "Label",
    ColumnRole.LABEL_TIMESTAMP: "Time of the label",
    ColumnRole.PREDICTION: "Prediction",
    ColumnRole.PROBABILITY: "Probability",
    ColumnRole.VERSION: "Version",
    ColumnRole.LATENCY: "Latency in ms",
    ColumnRole.ROLE: "Role of the version",
    ColumnRole.SUBJECT: "Subject (a person)",
    ColumnRole.TAGS: "Tags as JSON",
    ColumnRole.TAG: "Tag",
    ColumnRole.FEATURE: "Feature",
    ColumnRole.IGNORED: "Ignored",
}
_ZONES = ("UTC", "Europe/London", "Europe/Berlin", "America/New_York", "America/Los_Angeles", "Asia/Tokyo")


class ReadingForm(forms.Form):
    """How a file is read, but for its columns."""

    kind = forms.ChoiceField(choices=KINDS, label="The file holds")
    version = forms.CharField(
        max_length=64,
        required=False,
        label="For version",
        help_text="Of rows that name none. Empty: the champion, or version 1 of a new model.",
    )
    time_zone = forms.CharField(
        max_length=64,
        required=False,
        label="Time zone",
        help_text="Of times that name none, such as Europe/Berlin.",
        widget=forms.TextInput(attrs={"list": "zones"}),
    )
    date_order = forms.ChoiceField(
        required=False,
        label="Dates such as 01/02/2026",
        choices=[("", "As found"), ("day_first", "Day first"), ("month_first", "Month first")],
    )
    positive_class = forms.CharField(
        max_length=200,
        required=False,
        label="Its probability is that of",
        help_text="Performance is measured for this class; from now on it counts as positive for the version.",
    )
    encoding = forms.ChoiceField(choices=_ENCODINGS)
    delimiter = forms.ChoiceField(choices=_DELIMITERS)
    decimal = forms.ChoiceField(choices=[(".", "Point 1.5"), (",", "Comma 1,5")], label="Decimal sign")
    has_header = forms.ChoiceField(
        choices=[("yes", "Holds the names"), ("no", "Is a row of values")], label="The first row"
    )
    force = forms.BooleanField(
        required=False, label="Import it again", help_text="If the same file was imported before."
    )
    replace = forms.BooleanField(
        required=False,
        label="Replace the reference",
        help_text="Although something depends on columns that the file has not.",
    )


@page("GET", "POST", writes="file")
def file(request: PageRequest, name: str, pk: int) -> HttpResponse:
    """Show a file that waits as it will be stored; take other choices, store it, or discard it."""
    frame = frame_of(request, name, "predictions")
    found = staging.get_waiting_file(model=frame["model"], file_id=pk)
    if request.POST.get("do") == "discard":
        staging.discard_file(found)
        messages.info(request, f"{found.file_name} was discarded; nothing of it was stored.")
        return redirect("import", name=name)
    if request.method == "GET":
        return _show(request, frame, found, _asked(request), None)
    form = ReadingForm(request.POST)
    is_valid = form.is_valid()
    choice = _choice(request, found, form)
    if choice is None or not is_valid or request.POST.get("do") != "confirm":
        return _show(request, frame, found, choice or ReadingChoice(), form)
    try:
        stored = _confirm(request, found, choice, form.cleaned_data)
    except Problem as problem:
        if problem.status in (403, 404):
            raise
        explain(form, problem)
        return _show(request, frame, found, choice, form)
    return _lead_on(request, stored, name)


def stage_upload(request: PageRequest, model: Model, form: forms.Form) -> UploadedFile | None:
    """Keep an uploaded file to be looked at; None where it cannot be read, which the form then says."""
    if not form.is_valid():
        return None
    upload = form.cleaned_data["file"]
    try:
        return staging.stage_file(model=model, stream=upload, name=upload.name, actor=request.visitor.actor)
    except Problem as problem:
        explain(form, problem)
        return None


def lead_to_preview(request: PageRequest, model_name: str, uploaded: UploadedFile, kind: str) -> HttpResponse:
    """Go to the preview of a file that was uploaded on another page."""
    url = f"{reverse('file', args=[model_name, uploaded.pk])}?kind={kind}"
    if request.htmx:  # type: ignore[attr-defined]
        return HttpResponse(status=204, headers={"HX-Redirect": url})
    return redirect(url)


def _asked(request: PageRequest) -> ReadingChoice:
    kind = request.GET.get("kind", "")
    return ReadingChoice(kind=FileKind(kind) if kind in list(FileKind) else None)


def _choice(request: PageRequest, found: UploadedFile, form: ReadingForm) -> ReadingChoice | None:
    """Read what was chosen, also beside fields that are wrong; roles count where the columns are still those that the
    page showed.
    """
    values = form.cleaned_data
    written: dict[str, Any] = {
        name: values[name] for name in ("encoding", "delimiter", "decimal", "has_header") if name in values
    }
    if written.get("delimiter") == "tab":
        written["delimiter"] = "\t"
    if "has_header" in written:
        written["has_header"] = written["has_header"] == "yes"
    choice = ReadingChoice(
        kind=FileKind(values["kind"]) if "kind" in values else None,
        format=written,
        time_zone=values.get("time_zone", ""),
        date_order=values.get("date_order", ""),
    )
    try:
        names = staging.column_names(found, choice.format)
    except Problem as problem:
        explain(form, problem)
        return None
    if request.POST.get("names") != _digest(names):
        return choice
    roles = {
        name: ColumnRole(role)
        for place, name in enumerate(names)
        if (role := request.POST.get(f"role-{place}")) in list(ColumnRole)
    }
    return ReadingChoice(choice.kind, roles, choice.format, choice.time_zone, choice.date_order)


def _digest(names: list[str]) -> str:
    return f"{zlib.crc32(chr(0).join(names).encode('utf-8', 'surrogatepass')):08x}"


def _confirm(
    request: PageRequest, found: UploadedFile, choice: ReadingChoice, values: dict[str, Any]
) -> ConfirmedFile:
    return confirm_file(
        file=found,
        choice=choice,
        version=values["version"],
        sender=FileSender(request.visitor.actor),
        force=values["force"],
        replace=values["replace"],
        positive_class=values["positive_class"],
        allow=lambda kind, layout: _allow(request, kind, layout),
    )


def _allow(request: PageRequest, kind: FileKind, layout: FileLayout | None) -> None:
    request.visitor.check_rights({"/kind": kind})
    if layout is not None and "label" in layout.own:
        request.visitor.check_rights({"/kind": "labels"})


def _show(
    request: PageRequest, frame: dict[str, Any], found: UploadedFile, choice: ReadingChoice, form: ReadingForm | None
) -> HttpResponse:  # fmt: skip
    try:
        shown = staging.preview_file(found, choice)
    except Problem as problem:
        if form is None:
            raise
        explain(form, problem)
        shown = staging.preview_file(found, ReadingChoice(choice.kind, choice.columns, choice.format))
    columns = _columns(shown)
    form = form or ReadingForm(initial=_initial(shown))
    _offer_classes(form, shown)
    frame |= {
        "file": found,
        "form": form,
        "shown": shown,
        "columns": columns,
        "names": _digest([column.name for column in shown.columns]),
        "more_columns": len(shown.columns) - len(columns),
        "stored_names": shown.stored_names[:MAX_SHOWN],
        "more_stored": max(0, len(shown.stored_names) - MAX_SHOWN),
        "rows": [row[:MAX_SHOWN] for row in shown.rows],
        "roles": [(role.value, _ROLE_WORDS[role]) for role in ColumnRole],
        "used": {role.value for role in USED[shown.kind]},
        "zones": _ZONES,
        "is_remembered": any(column.why.startswith("As chosen") for column in shown.columns),
    }
    return render(request, "pages/data/file.html", frame, status=422 if form.errors else 200)


def _offer_classes(form: ReadingForm, shown: Preview) -> None:
    """Offer the classes of the file; what its rows show is chosen where the page did not ask before."""
    names = shown.classes if shown.positive_class else ["", *shown.classes]
    form.fields["positive_class"].widget = forms.Select(
        choices=[(name, name or "Not known") for name in names]
    )
    if form.is_bound and "positive_class" not in form.data:
        sent = cast(QueryDict, form.data).copy()
        sent["positive_class"] = shown.positive_class or ""
        form.data = sent


def _columns(shown: Preview) -> list[tuple[int, ColumnGuess]]:
    """List the columns with their places; of very many those that are more than a feature come first."""
    columns = list(enumerate(shown.columns))
    if len(columns) <= MAX_CHOSEN:
        return columns
    columns.sort(key=lambda one: (one[1].role == ColumnRole.FEATURE and not one[1].warnings, one[0]))
    return columns[:MAX_CHOSEN]


def _initial(shown: Preview) -> dict[str, Any]:
    found = shown.reading.format
    return {
        "kind": shown.kind,
        "positive_class": shown.positive_class,
        "time_zone": shown.reading.time_zone,
        "date_order": shown.reading.date_order or "",
        "encoding": found.encoding,
        "delimiter": "tab" if found.delimiter == "\t" else found.delimiter,
        "decimal": found.decimal,
        "has_header": "yes" if found.has_header else "no",
    }


def _lead_on(request: PageRequest, stored: ConfirmedFile, name: str) -> HttpResponse:
    if stored.dataset is not None:
        messages.success(
            request,
            f"{stored.dataset.rows:,} rows were stored; each day of predictions is compared with them.",
        )
        return redirect("reference", name=name)
    job = stored.job
    assert job is not None
    if job.is_unfinished:
        outcome = "was taken and is being imported" if stored.is_new else "is being imported already"
        messages.success(request, f"{job.file_name} {outcome}; you may leave this page.")
    else:
        messages.info(
            request,
            f"The same file was imported before, as {job.file_name}, and nothing was done; upload it again and tick "
            "Import it again to have it imported once more.",
        )
    return redirect("import", name=name)
