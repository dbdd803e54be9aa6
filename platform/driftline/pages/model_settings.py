"""A model's settings: which rows are kept and how long, and which features are hashed or dropped."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.forms import BoundField
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.common.errors import Problem
from driftline.pages.access import PageRequest, page
from driftline.pages.forms import explain
from driftline.pages.model import frame_of
from inference.prediction_log.spool.privacy import DROP, HASH, KEEP, SUMMARY
from inference.registry.models import Model, RowsKept
from inference.registry.services import MAX_RETENTION_DAYS, update_model
from monitors.definitions.expectations import kinds_of_features

POLICIES = [
    (KEEP, "kept as it is"),
    (HASH, "hashed: equal values stay equal, and nobody can read them"),
    (SUMMARY, "summarised, then dropped: no row has it any more"),
    (DROP, "dropped: neither kept nor summarised"),
]
PLAIN = ("rows_kept", "retention_days", "summary_retention_days")  # set as they are sent
NUMBER_POLICIES = [one for one in POLICIES if one[0] != HASH]


class SettingsForm(forms.Form):
    """Days, a policy for each feature that is known, and a confirmation of what destroys data."""

    rows_kept = forms.ChoiceField(
        choices=RowsKept.choices,
        required=False,
        label="Rows that are kept",
        help_text="Without rows there are drift, data quality and estimates, and no labels, runs, exports, "
        "comparisons of requests or look at a prediction.",
    )
    retention_days = forms.IntegerField(
        required=False, min_value=0, max_value=MAX_RETENTION_DAYS, label="Keep rows for (days)"
    )
    summary_retention_days = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=MAX_RETENTION_DAYS,
        label="Keep summaries and points for (days)",
    )
    sure = forms.BooleanField(required=False, label="I know that what is dropped cannot be brought back.")

    def __init__(self, model: Model, data: Any = None) -> None:
        self.model = model
        initial = {name: getattr(model, name) for name in PLAIN}
        super().__init__(data, initial=initial)
        for name, default in (
            ("retention_days", settings.RETENTION_DAYS),
            ("summary_retention_days", settings.SUMMARY_RETENTION_DAYS),
        ):
            usual = f"{default} days" if default else "for ever"
            self.fields[name].help_text = f"By event time; 0 for ever. Empty: {usual}, as the server says."
        self.features = _features_of(model)
        for place, (feature, is_number) in enumerate(self.features.items()):
            self.fields[f"feature_{place}"] = forms.ChoiceField(
                choices=NUMBER_POLICIES if is_number else POLICIES,
                initial=model.privacy.get(feature, KEEP),
                label=feature,
            )

    def policy_fields(self) -> Iterator[BoundField]:
        """Give the fields of the features, in the order of their names."""
        return (self[f"feature_{place}"] for place in range(len(self.features)))

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if not values.get("sure") and not self.errors and self._destroys(values):
            self.add_error("sure", "This lets go of data or stops keeping them; confirm it.")
        return values

    def clean_rows_kept(self) -> str:
        """Take what is not sent for what holds, as a page that was open before has no such field."""
        return self.cleaned_data["rows_kept"] or self.model.rows_kept

    def _destroys(self, values: dict[str, Any]) -> bool:
        """Tell whether rows or summaries go earlier than before, or a feature is no longer kept as it is."""
        if (self.model.rows_kept, values["rows_kept"]) == (RowsKept.ALL, RowsKept.NONE):
            return True
        usual = {
            "retention_days": settings.RETENTION_DAYS,
            "summary_retention_days": settings.SUMMARY_RETENTION_DAYS,
        }
        is_shorter = any(
            _kept_days(values[name], default) < _kept_days(getattr(self.model, name), default)
            for name, default in usual.items()
        )
        return is_shorter or any(
            policy not in (KEEP, self.model.privacy.get(name, KEEP))
            for name, policy in self.policies(values).items()
        )

    def policies(self, values: dict[str, Any]) -> dict[str, str]:
        """Give the policy that was chosen for each feature."""
        return {name: values[f"feature_{place}"] for place, name in enumerate(self.features)}


def _kept_days(days: int | None, default: int) -> float:
    return (default if days is None else days) or float("inf")


def _features_of(model: Model) -> dict[str, bool]:
    """List the features that are known, and whether each is a number; hashed ones are text."""
    known = kinds_of_features(model)
    known |= {name: known.get(name, False) for name in model.privacy}
    return dict(sorted(known.items()))


@page("GET", "POST", writes="model.privacy")
def model_settings(request: PageRequest, name: str) -> HttpResponse:
    frame = frame_of(request, name, "model_settings")
    model = frame["model"]
    form = SettingsForm(model, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            _save(request, form)
        except Problem as problem:
            explain(form, problem)
        else:
            messages.success(request, "The settings hold from now on; serving knows within a second.")
            return redirect("model_settings", name=model.name)
    return render(
        request, "pages/model_settings.html", frame | {"form": form}, status=422 if form.errors else 200
    )


def _save(request: PageRequest, form: SettingsForm) -> None:
    values, model = form.cleaned_data, form.model
    changes: dict[str, Any] = {name: values[name] for name in PLAIN if values[name] != getattr(model, name)}
    policies = {
        name: policy
        for name, policy in form.policies(values).items()
        if policy != model.privacy.get(name, KEEP)
    }
    if policies:
        changes["privacy"] = policies
    request.visitor.check_rights({f"/{name}": f"model.{name}" for name in changes})
    if changes:
        update_model(model=model, actor=request.visitor.actor, **changes)
