"""The page of an expectation: what a person expects of a feature, beside what the reference shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render

from driftline.base.errors import Problem
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.models.model import frame_of
from monitors.definitions.expectations import MAX_CATEGORIES, expect, schema_of
from monitors.definitions.schemas import ExpectedColumn, FeatureSchema


class ExpectationForm(forms.Form):
    """Edges for a number, values for a category; shares are written in percent."""

    least = forms.FloatField(required=False, label="Least value")
    most = forms.FloatField(required=False, label="Largest value")
    categories = forms.CharField(
        required=False,
        label="Values that there may be",
        help_text=f"One a line, up to {MAX_CATEGORIES:,}.",
        widget=forms.Textarea(attrs={"rows": 6}),
    )
    tolerance = forms.FloatField(
        min_value=0,
        max_value=100,
        required=False,
        label="Rows that may break this (%)",
        help_text="Empty or 0: one such row in a day is a fault.",
    )
    missing_share = forms.FloatField(
        min_value=0, max_value=100, required=False, label="Rows that may lack it (%)"
    )

    def __init__(self, described: FeatureSchema, data: Any = None) -> None:
        expected = described["expected"]
        super().__init__(data, initial=_initial(expected) if expected else {})
        for name in ("categories",) if described["kind"] == "number" else ("least", "most"):
            del self.fields[name]
        learnt: Mapping[str, Any] = described["learnt"] or {}
        for name in {"least", "most"} & learnt.keys() & self.fields.keys():
            self.fields[name].help_text = (
                f"The reference: {learnt[name]:g}." if learnt[name] is not None else ""
            )

    def entered(self) -> dict[str, Any]:
        """Return what was entered, as `expect` takes it."""
        values = dict(self.cleaned_data)
        values["tolerance"] = (values["tolerance"] or 0) / 100
        values["missing_share"] = None if values["missing_share"] is None else values["missing_share"] / 100
        if "categories" in values:
            lines = (line.strip() for line in values["categories"].splitlines())
            values["categories"] = list(dict.fromkeys(line for line in lines if line)) or None
        return values


def _initial(expected: ExpectedColumn) -> dict[str, Any]:
    missing_share = expected["missing_share"]
    return {
        "least": expected["least"],
        "most": expected["most"],
        "categories": "\n".join(expected["categories"] or ()),
        "tolerance": 100 * expected["tolerance"] or None,
        "missing_share": None if missing_share is None else 100 * missing_share,
    }


@dataclass(frozen=True)
class SuggestedRange:
    """A range that one press expects of a feature: the label of the button, and what the form sends."""

    label: str
    fields: Mapping[str, Any]


def suggested_ranges(described: FeatureSchema, odd: float | None) -> list[SuggestedRange]:
    """Suggest to expect the learnt range where none is expected yet, and to allow an odd value beyond it, if given."""
    learnt: Mapping[str, Any] = described["learnt"] or {}
    expected = described["expected"]
    least, most = learnt.get("least"), learnt.get("most")
    if described["kind"] != "number" or least is None or most is None:
        return []
    known = {
        name: value for name, value in (_initial(expected) if expected else {}).items() if value is not None
    }
    suggested = []
    if "least" not in known and "most" not in known:
        learnt_range = known | {"least": repr(least), "most": repr(most)}
        suggested.append(SuggestedRange(f"Confirm {least:g} to {most:g}", learnt_range))
    if odd is not None and odd < known.get("least", least):
        suggested.append(SuggestedRange(f"Allow values down to {odd:g}", known | {"least": repr(odd)}))
    if odd is not None and odd > known.get("most", most):
        suggested.append(SuggestedRange(f"Allow values up to {odd:g}", known | {"most": repr(odd)}))
    return suggested


@page("GET", "POST", writes="expectation")
def expectation(request: PageRequest, name: str, feature: str) -> HttpResponse:
    frame = frame_of(request, name, "drift")
    model = frame["model"]
    described = next((one for one in schema_of(model) if one["feature"] == feature), None)
    if described is None:
        raise Http404
    form = ExpectationForm(described, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        entered = None if "forget" in request.POST else form.entered()
        try:
            expect(model=model, changes={feature: entered}, actor=request.visitor.actor)
        except Problem as problem:
            _explain(form, problem)
        else:
            messages.success(request, "The newest windows are judged by it now, and every one that comes.")
            return redirect("feature", name=name, feature=feature)
    frame |= {"feature": feature, "described": described, "form": form}
    return render(request, "pages/quality/expectation.html", frame, status=422 if form.errors else 200)


def _explain(form: ExpectationForm, problem: Problem) -> None:
    """Put each fault at the field that its pointer names: /features/<feature>/<field>."""
    for fault in problem.errors:
        field = next((part for part in fault.pointer.split("/")[3:] if part in form.fields), None)
        form.add_error(field, fault.detail)
