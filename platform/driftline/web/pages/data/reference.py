"""What a model's windows are compared with: an uploaded file, or a part of the log that is chosen here."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.base.errors import Problem, not_found
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.data.files import lead_to_preview, stage_upload
from driftline.web.pages.forms import explain
from driftline.web.pages.models.model import frame_of
from inference.data_files.columns import FileKind
from inference.registry.models import Model
from inference.registry.selectors import find_model
from monitors.definitions.choosing import GAP_DAYS, TRAILING_DAYS, WEEKS, ReferenceChoice, choose_reference
from monitors.definitions.models import Reference
from monitors.definitions.services import retry_reference


class ReferenceForm(forms.Form):
    file = forms.FileField(
        label="CSV or Parquet file",
        help_text="One example per row. Its columns are shown first; nothing is stored before you confirm them.",
    )


def _day_field(label: str, help_text: str = "") -> forms.DateField:
    return forms.DateField(label=label, help_text=help_text, widget=forms.DateInput(attrs={"type": "date"}))


class PeriodForm(forms.Form):
    kind = Reference.Kind.PERIOD
    when = (
        "When there is no training data, or a time is known to have gone well. It stays until you change it."
    )
    trap = "It has only the season that it is of: what is usual in June may be drift beside January."

    first = _day_field("First day")
    to = _day_field("Last day", "At least 14 days: limits are made from how far they lie apart.")

    def choice(self) -> ReferenceChoice:
        first, last = (_midnight(self.cleaned_data[name]) for name in ("first", "to"))
        return ReferenceChoice(self.kind, first, last + timedelta(days=1))


class TrailingForm(forms.Form):
    kind = Reference.Kind.TRAILING
    when = "When data change slowly for good reasons, and you want to hear of sudden changes alone."
    trap = "It forgets slow drift: what creeps in over weeks becomes usual. Judge performance beside it."

    days = forms.IntegerField(initial=TRAILING_DAYS, label="Days")
    gap_days = forms.IntegerField(
        initial=GAP_DAYS,
        label="Days left out before each window",
        help_text="They keep a fault out that has begun.",
    )

    def choice(self) -> ReferenceChoice:
        values = self.cleaned_data
        return ReferenceChoice(self.kind, length=values["days"], gap=values["gap_days"])


class SameHoursForm(forms.Form):
    kind = Reference.Kind.SAME_HOURS
    when = (
        "When a Monday is unlike a Sunday, or a morning unlike a night: a day is compared with the same weekday, an "
        "hour with the same hour of that weekday."
    )
    trap = (
        "It forgets slow drift as well, and holidays look like drift. Hours are then kept for as many weeks; before "
        "they are there, windows are too few to judge."
    )

    weeks = forms.IntegerField(
        initial=WEEKS,
        label="Weeks",
        help_text="14 or more: limits are made from how far such hours lie apart.",
    )

    def choice(self) -> ReferenceChoice:
        return ReferenceChoice(self.kind, length=self.cleaned_data["weeks"])


class FileForm(forms.Form):
    kind = Reference.Kind.FILE
    when = "The newest file of the version that answers, as before."
    trap = ""

    def choice(self) -> ReferenceChoice:
        return ReferenceChoice(self.kind)


SHOWN = 10

type ChoiceForm = PeriodForm | TrailingForm | SameHoursForm | FileForm
CHOICES: tuple[type[ChoiceForm], ...] = (PeriodForm, TrailingForm, SameHoursForm, FileForm)


@page("GET", "POST", writes="reference")
def reference(request: PageRequest, name: str) -> HttpResponse:
    if request.method == "GET" and request.GET.get("part") == "references":
        model = find_model(project=request.visitor.project, name=name)
        return render(request, "partials/references.html", {"model": model, **_references(model)})
    frame = frame_of(request, name, "drift")
    if request.method == "POST" and "retry" in request.POST:
        return _retry(request, frame["model"])
    kind = request.POST.get("kind") if request.method == "POST" else None
    upload = ReferenceForm(request.POST, request.FILES) if request.method == "POST" and not kind else None
    choices = [form(request.POST if form.kind == kind else None, prefix=form.kind) for form in CHOICES]
    posted = next((form for form in choices if form.is_bound), None)
    if upload is not None and (staged := stage_upload(request, frame["model"], upload)) is not None:
        return lead_to_preview(request, name, staged, FileKind.REFERENCE)
    if posted is not None and posted.is_valid() and _choose(request, frame["model"], posted):
        return redirect("reference", name=name)
    is_wrong = bool((upload or posted) and (upload or posted).errors)  # type: ignore[union-attr]
    frame |= {"form": upload or ReferenceForm(), "choices": _offered(choices, frame["model"])}
    frame |= _references(frame["model"])
    return render(request, "pages/data/reference.html", frame, status=422 if is_wrong else 200)


def _retry(request: PageRequest, model: Model) -> HttpResponse:
    number = request.POST["retry"]
    failed = model.references.filter(pk=int(number) if number.isdecimal() and len(number) < 19 else 0).first()
    if failed is None:
        raise not_found("reference")
    retry_reference(reference=failed, actor=request.visitor.actor)
    messages.success(request, "The reference is built again.")
    return redirect("reference", name=model.name)


def _choose(request: PageRequest, model: Model, form: ChoiceForm) -> bool:
    champion = model.deployment.champion
    if champion is None:
        form.add_error(None, "No version answers yet: log a prediction or upload a version first.")
        return False
    try:
        chosen = choose_reference(
            model=model, version=champion, choice=form.choice(), actor=request.visitor.actor
        )
    except Problem as problem:
        explain(form, problem)
        return False
    messages.success(request, f"From today on, windows are compared with {chosen.description}.")
    return True


def _offered(choices: list[ChoiceForm], model: Model) -> list[ChoiceForm]:
    """Leave out the way back to a file where there is none, or it is in use."""
    files = model.references.filter(kind=Reference.Kind.FILE, archived_at=None)
    return [
        form for form in choices if form.kind != Reference.Kind.FILE or files.filter(is_active=False).exists()
    ]


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _references(model: Model) -> dict[str, Any]:
    known = model.references.select_related("version", "dataset").order_by("-pk")
    references, archived = known.filter(archived_at=None)[:SHOWN], known.exclude(archived_at=None)[:SHOWN]
    return {
        "references": references,
        "archived": archived,
        "is_building": any(one.state == "building" for one in references),
    }
