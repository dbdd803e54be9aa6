"""What is expected of a feature: said by a person, beside what the reference shows."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render

from driftline.common.errors import Problem
from driftline.pages.access import PageRequest, page
from driftline.pages.model import frame_of
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

    def said(self) -> dict[str, Any]:
        """Give what was entered as the domain takes it."""
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


@page("GET", "POST", writes="expectation")
def expectation(request: PageRequest, name: str, feature: str) -> HttpResponse:
    frame = frame_of(request, name, "drift")
    model = frame["model"]
    described = next((one for one in schema_of(model) if one["feature"] == feature), None)
    if described is None:
        raise Http404
    form = ExpectationForm(described, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        said = None if "forget" in request.POST else form.said()
        try:
            expect(model=model, changes={feature: said}, actor=request.visitor.actor)
        except Problem as problem:
            _explain(form, problem)
        else:
            messages.success(request, "The newest windows are judged by it now, and every one that comes.")
            return redirect("feature", name=name, feature=feature)
    frame |= {"feature": feature, "described": described, "form": form}
    return render(request, "pages/expectation.html", frame, status=422 if form.errors else 200)


def _explain(form: ExpectationForm, problem: Problem) -> None:
    """Put each fault at the field that its pointer names: /features/<feature>/<field>."""
    for fault in problem.errors:
        field = next((part for part in fault.pointer.split("/")[3:] if part in form.fields), None)
        form.add_error(field, fault.detail)
