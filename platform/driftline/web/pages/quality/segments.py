"""The page of segments: those by conditions and those by each value of a feature, to add and to remove."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from driftline.base.errors import Problem
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.models.model import frame_of
from inference.registry.models import Model
from monitors.definitions.expectations import kinds_of_features
from monitors.definitions.models import Segment, SegmentFeature
from monitors.definitions.segment_masks import MAX_VALUES, NAME_LENGTH
from monitors.definitions.segments import (
    MAX_CONDITIONS,
    MAX_FEATURES,
    MAX_SEGMENTS,
    MAX_VALUE_LENGTH,
    declare_segment,
    remove_segment,
    set_segments,
)
from monitors.summaries.models import Summary

ROWS = 3  # conditions that the page offers at once
TAG = "tag:"


class NameForm(forms.Form):
    name = forms.CharField(
        required=False, max_length=NAME_LENGTH, label="Name", help_text="Empty: its conditions are its name."
    )


class ConditionForm(forms.Form):
    """One condition: a value, a range or nothing at all, of a feature or a tag."""

    column = forms.CharField(
        required=False,
        max_length=200,
        label="Feature",
        help_text="Or tag:name.",
        widget=forms.TextInput(attrs={"list": "columns"}),
    )
    value = forms.CharField(required=False, max_length=MAX_VALUE_LENGTH, label="Is")
    lower = forms.FloatField(required=False, label="At least")
    upper = forms.FloatField(required=False, label="Below")
    is_missing = forms.BooleanField(required=False, label="Is missing")

    def condition(self) -> dict[str, Any]:
        """Return what was entered, as `declare_segment` takes it."""
        column = self.cleaned_data["column"]
        column_of = {"tag": column.removeprefix(TAG)} if column.startswith(TAG) else {"feature": column}
        plain = {name: self.cleaned_data[name] for name in ("lower", "upper", "is_missing")}
        return column_of | plain | {"value": self.cleaned_data["value"] or None}


@page("GET", "POST", writes="segment")
def segments(request: PageRequest, name: str) -> HttpResponse:
    """List the segments; a POST adds a segment or each value of one more feature, or removes one."""
    frame = frame_of(request, name, "performance")
    model, sent = frame["model"], request.POST if request.method == "POST" else None
    if sent is not None and sent.keys() & _AT_ONCE.keys():
        message = next(do(request, model, sent[key]) for key, do in _AT_ONCE.items() if key in sent)
        messages.success(request, message)
        return redirect("segments", name=name)
    form, rows = NameForm(sent), [ConditionForm(sent, prefix=str(place)) for place in range(ROWS)]
    if sent is not None and all([form.is_valid(), *(row.is_valid() for row in rows)]):
        filled = [row for row in rows if row.has_changed()]
        try:
            segment = declare_segment(
                model=model,
                name=form.cleaned_data["name"],
                conditions=[row.condition() for row in filled],
                actor=request.visitor.actor,
            )
        except Problem as problem:
            _explain(form, filled or rows, problem)
        else:
            messages.success(request, f"{segment.name} is watched; the rows that are kept are read again.")
            return redirect("segments", name=name)
    frame |= _listed(model) | {"form": form, "rows": rows}
    is_wrong = form.errors or any(row.errors for row in rows)
    return render(request, "pages/quality/segments.html", frame, status=422 if is_wrong else 200)


def _listed(model: Model) -> dict[str, Any]:
    watched = sorted(model.segment_features.values_list("feature", flat=True))
    known = sorted(kinds_of_features(model))
    return {
        "segments": [(one, _newest_day(model, one.name)) for one in model.segments.order_by("name")],
        "features": watched,
        "columns": known,
        "addable": [feature for feature in known if feature not in watched],
        "most_segments": MAX_SEGMENTS,
        "most_conditions": MAX_CONDITIONS,
        "most_features": MAX_FEATURES,
        "most_values": MAX_VALUES,
    }


def _newest_day(model: Model, segment: str) -> Summary | None:
    days: QuerySet[Summary] = Summary.objects.filter(
        model=model, span="day", segment=segment, role="champion"
    )
    return days.defer("payload", "blocks").order_by("-start").first()


def _explain(form: forms.Form, rows: Sequence[forms.Form], problem: Problem) -> None:
    """Put each fault where its pointer says: /name, or /conditions/<place>/<field>."""
    for fault in problem.errors:
        parts = fault.pointer.split("/")[1:]
        is_of_row = parts[0] == "conditions" and len(parts) > 1
        faulty_form = rows[int(parts[1])] if is_of_row else form
        field = "column" if parts[-1] in ("feature", "tag") else parts[-1]
        faulty_form.add_error(field if field in faulty_form.fields else None, fault.detail)
    if not problem.errors:
        form.add_error(None, problem.detail)


# -- at one press ------------------------------------------------------------------------------------------------------
def _watch_values(request: PageRequest, model: Model, feature: str) -> str:
    features = [*model.segment_features.values_list("feature", flat=True), feature]
    set_segments(model=model, features=list(dict.fromkeys(features)), actor=request.visitor.actor)
    return f"Each value of {feature} is watched; the rows that are kept are read again."


def _remove_values(request: PageRequest, model: Model, feature: str) -> str:
    others = model.segment_features.exclude(feature=feature)
    set_segments(
        model=model, features=list(others.values_list("feature", flat=True)), actor=request.visitor.actor
    )
    return f"The values of {feature} are not watched any more."


def _remove(request: PageRequest, model: Model, pk: str) -> str:
    segment = get_object_or_404(Segment.objects.select_related("model__project"), model=model, pk=pk)
    remove_segment(segment=segment, actor=request.visitor.actor)
    return f"{segment.name} is not watched any more."


_AT_ONCE = {"values": _watch_values, "remove_values": _remove_values, "remove": _remove}


# -- the question before a removal -------------------------------------------------------------------------------------
@page("GET")
def remove(request: PageRequest, name: str, pk: int) -> HttpResponse:
    """Show what is deleted with a segment, before it is removed on the page of the list."""
    frame = frame_of(request, name, "performance")
    segment = get_object_or_404(Segment, model=frame["model"], pk=pk)
    return _confirm(request, frame, f"Remove the segment {segment.name}", ("remove", pk))


@page("GET")
def remove_values(request: PageRequest, name: str, feature: str) -> HttpResponse:
    """Show what is deleted when the values of a feature are no longer segments."""
    frame = frame_of(request, name, "performance")
    get_object_or_404(SegmentFeature, model=frame["model"], feature=feature)
    return _confirm(request, frame, f"Stop watching the values of {feature}", ("remove_values", feature))


def _confirm(
    request: PageRequest, frame: Mapping[str, Any], title: str, sent: tuple[str, object]
) -> HttpResponse:
    question = {
        "title": title,
        "sent": sent,
        "effects": [
            "Its summaries and points are deleted, on every page and for everybody.",
            "Declared again, only rows that the log still has come back.",
        ],
        "yes": "Yes, remove it",
        "may_confirm": request.visitor.may_edit,
    }
    return render(request, "pages/quality/segment_remove.html", {**frame, **question})
