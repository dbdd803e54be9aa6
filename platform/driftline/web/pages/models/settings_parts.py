"""The forms of a model's settings page: each holds some settings, and says which of them were changed to what."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from django import forms
from django.conf import settings
from django.forms import BoundField
from django.http import QueryDict
from pydantic import BaseModel

from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.http.bodies import Body
from driftline.web.pages.access import Visitor
from driftline.web.pages.setting_fields import form_fields
from inference.prediction_log.spool.privacy import DROP, HASH, KEEP, SUMMARY
from inference.registry.models import Model, ModelTask, RowsKept
from inference.registry.selectors import signature_of
from inference.registry.settings import AboutSettings, KeepingSettings, Objectives
from monitors.definitions.expectations import compared_features
from monitors.definitions.models import MonitorKind
from monitors.metrics.catalogue import METRICS
from monitors.retention_preview import preview_retention
from monitors.workflows.judging.pairs import JUDGED

MAX_HOURS = 87_600
POLICIES = [
    (KEEP, "kept as it is"),
    (HASH, "hashed: equal values stay equal, and nobody can read them"),
    (SUMMARY, "keep aggregates only, delete raw values"),
    (DROP, "dropped: neither kept nor summarised"),
]
NUMBER_POLICIES = [one for one in POLICIES if one[0] != HASH]


def _title(objective: str) -> str:
    return str(Objectives.model_fields[objective].title)


class SettingsPart(forms.Form):
    """Some settings of a model. Those that a visitor may not change are shown, and what is not sent stays as it is."""

    schema: type[BaseModel] = Body
    """Each of its settings has a field, which the class may declare otherwise."""

    def __init__(self, model: Model, visitor: Visitor, data: Any = None) -> None:
        self.model = model
        self.base_fields = form_fields(self.schema) | type(self).base_fields  # type: ignore[misc]
        super().__init__(data, initial=self.stored())
        self.prepare()
        for name, field in self.fields.items():
            if data is not None and name not in data and not isinstance(field, forms.BooleanField):
                field.disabled = True  # a page that was open before has no such field
            if not visitor.may(self.thing_of(name)):
                field.widget.attrs["disabled"] = True

    def stored(self) -> dict[str, Any]:
        """Return the present value of each field."""
        return {name: getattr(self.model, name, None) for name in self.base_fields}

    def prepare(self) -> None:
        """Bring the fields to the model."""

    def thing_of(self, name: str) -> str:
        """Return what a field changes, as the table of rights calls it."""
        return f"model.{name}"

    def changed_things(self) -> dict[str, str]:
        """Return what was changed, by the pointer that a refusal names."""
        return {f"/{name}": self.thing_of(name) for name in self.changed_data if name != "sure"}

    def changes(self) -> dict[str, Any]:
        """Return the new values of what was changed, as the service takes them."""
        return {name: self.cleaned_data[name] for name in self.changed_data}


class AboutForm(SettingsPart):
    """What the model is, and who answers for it."""

    schema = AboutSettings

    tags = forms.CharField(
        max_length=1_100,
        required=False,
        help_text="Words to find it by, with spaces between: fraud team:payments.",
    )
    task = forms.ChoiceField(choices=ModelTask.choices, required=False)
    positive_class = forms.ChoiceField(
        required=False,
        help_text="The class that the logged probability is of. Another one has the reference and all windows computed "
        "again.",
    )
    text_features = forms.CharField(
        max_length=4_200,
        required=False,
        label=AboutSettings.model_fields["text_features"].title,
        help_text="With commas between: review, title. Their lengths and scripts are compared, not their values.",
    )

    def stored(self) -> dict[str, Any]:
        texts = ", ".join(self.model.text_features)
        champion = self.model.deployment.champion
        self.signature = signature_of(champion) if champion and champion.signature else None
        return super().stored() | {
            "tags": " ".join(self.model.tags),
            "text_features": texts,
            "positive_class": self.signature and self.signature.positive_class,
        }

    def prepare(self) -> None:
        if self.model.versions.exists():
            self.fields["task"].disabled = True
            self.fields["task"].help_text = "It stays from the first version on, as answers are read by it."
        else:
            self.fields["task"].help_text = "It can be changed until the first version is there."
        self._prepare_positive_class()

    def _prepare_positive_class(self) -> None:
        """Offer the champion's classes; a version that is served has declared which of them is the positive one."""
        if self.model.task != ModelTask.BINARY or self.signature is None:
            del self.fields["positive_class"]
            return
        field = cast(forms.ChoiceField, self.fields["positive_class"])
        field.choices = [(name, name) for name in self.signature.classes]
        champion = self.model.deployment.champion
        if champion is not None and not champion.is_external:
            field.disabled = True
            field.help_text = "As the champion declares: each version names its own when it is uploaded."

    def clean_text_features(self) -> list[str]:
        return [name.strip() for name in str(self.cleaned_data["text_features"]).split(",") if name.strip()]

    def clean_tags(self) -> list[str]:
        return str(self.cleaned_data["tags"]).replace(",", " ").split()


class ObjectivesForm(SettingsPart):
    """What the model owes its users; default rules and the gate of promotions read it."""

    label_lag_hours = forms.FloatField(
        required=False, min_value=0, max_value=MAX_HOURS, label=_title("label_lag_hours"),
        help_text="Empty: learnt from the labels that arrive. Younger windows are not judged.",
    )  # fmt: skip
    latency_p99_ms = forms.FloatField(required=False, min_value=0.001, label=_title("latency_p99_ms"))
    requests_per_second = forms.FloatField(
        required=False, min_value=0.001, label=_title("requests_per_second")
    )
    quality_metric = forms.ChoiceField(required=False, label=_title("quality"))
    quality_floor = forms.FloatField(required=False, label="and its limit is")
    quantile = forms.FloatField(
        required=False, min_value=0.001, max_value=0.999, label=_title("quantile"),
        help_text="Of a regression that predicts one, such as 0.9; empty: it predicts the mean.",
    )  # fmt: skip

    def stored(self) -> dict[str, Any]:
        quality = self.model.objectives.get("quality") or {}
        plain = {name: value for name, value in self.model.objectives.items() if name != "quality"}
        return plain | {"quality_metric": quality.get("metric", ""), "quality_floor": quality.get("floor")}

    def prepare(self) -> None:
        known = {name: one.title for name, one in METRICS.items() if one.kind == MonitorKind.PERFORMANCE}
        chosen = self.initial["quality_metric"]
        choices = {
            name: known.get(name, name) for name in (*JUDGED.get(self.model.task, known), chosen) if name
        }
        self.fields["quality_metric"].choices = [("", "no objective"), *choices.items()]  # type: ignore[attr-defined]
        if self.model.task != ModelTask.REGRESSION and "quantile" not in self.initial:
            del self.fields["quantile"]

    def thing_of(self, name: str) -> str:
        return "model.objectives"

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if bool(values.get("quality_metric")) != (values.get("quality_floor") is not None):
            self.add_error("quality_floor", "Name both, the metric and its limit, or neither.")
        return values

    def changes(self) -> dict[str, Any]:
        """Return all objectives where one of them changed, as they are stored together."""
        if not self.changed_data:
            return {}
        metric, floor = self.cleaned_data["quality_metric"], self.cleaned_data["quality_floor"]
        values = {name: value for name, value in self.cleaned_data.items() if not name.startswith("quality_")}
        objectives = {name: value for name, value in values.items() if value is not None}
        return {
            "objectives": objectives | ({"quality": {"metric": metric, "floor": floor}} if metric else {})
        }


class KeepingForm(SettingsPart):
    """Days, a policy for each feature that is known, and a confirmation of what destroys data."""

    asks = False
    """Whether something is to be confirmed."""
    proposal = ""
    """What was shown to whoever confirms; what they send back with it must be the same."""

    schema = KeepingSettings
    sure = forms.BooleanField(required=False, label="I know that what is dropped cannot be brought back.")

    def prepare(self) -> None:
        for name, setting in _USUAL_DAYS.items():
            default = getattr(settings, setting)
            usual = f"{default} days" if default else "for ever"
            self.fields[name].help_text = f"By event time; 0 for ever. Empty: {usual}, as the server says."
        self.features = _features_of(self.model)
        for place, (feature, is_number) in enumerate(self.features.items()):
            self.fields[f"feature_{place}"] = forms.ChoiceField(
                choices=NUMBER_POLICIES if is_number else POLICIES,
                initial=self.model.privacy.get(feature, KEEP),
                label=feature,
            )

    def thing_of(self, name: str) -> str:
        return f"model.{name}" if name in _PLAIN else "model.privacy"

    def policy_fields(self) -> Iterator[BoundField]:
        """Yield the fields of the features, in the order of their names."""
        return (self[f"feature_{place}"] for place in range(len(self.features)))

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        for name, setting in self.schema.model_fields.items():
            if values.get(name) is None:  # an empty field
                values[name] = setting.get_default()
        if not self.errors:
            self._ask(values)
        return values

    def _ask(self, values: dict[str, Any]) -> None:
        """Ask for confirmation of what destroys data, by somebody who was shown what it deletes."""
        keeps_less = self._keeps_less(values)
        self.asks = keeps_less or any(policy != KEEP for policy in self._policies(values).values())
        chosen = {name: values[name] for name in ("rows_kept", *_USUAL_DAYS)}
        self.proposal = " ".join(map(str, chosen.values())) if keeps_less else ""
        if not self.asks or (values.get("sure") and self.data.get("shown", "") == self.proposal):
            return
        sentence = "This deletes data, or stops keeping it; confirm it."
        if keeps_less:
            sentence = f"{preview_retention(model=self.model, now=now(), **chosen).sentence} Confirm it."
        self.add_error("sure", sentence)
        sent = cast(QueryDict, self.data).copy()
        sent["sure"] = ""  # it was ticked for something else, if at all
        self.data = sent
        self.fields["sure"].widget.attrs["autofocus"] = True

    def _keeps_less(self, values: dict[str, Any]) -> bool:
        """Return whether rows or summaries go earlier than before."""
        return (self.model.rows_kept, values["rows_kept"]) == (RowsKept.ALL, RowsKept.NONE) or any(
            _kept_days(values[name], getattr(settings, setting))
            < _kept_days(getattr(self.model, name), getattr(settings, setting))
            for name, setting in _USUAL_DAYS.items()
        )

    def changes(self) -> dict[str, Any]:
        plain = {name: self.cleaned_data[name] for name in self.changed_data if name in _PLAIN}
        policies = self._policies(self.cleaned_data)
        return plain | ({"privacy": policies} if policies else {})

    def _policies(self, values: dict[str, Any]) -> dict[str, str]:
        """Return the new policy of each feature that has another one than before."""
        chosen = {name: values[f"feature_{place}"] for place, name in enumerate(self.features)}
        return {
            name: policy for name, policy in chosen.items() if policy != self.model.privacy.get(name, KEEP)
        }


_USUAL_DAYS = {
    "retention_days": "RETENTION_DAYS",
    "summary_retention_days": "SUMMARY_RETENTION_DAYS",
}
"""The days of a model that empty ones are read from, by setting."""
_PLAIN = tuple(KeepingSettings.model_fields)
"""The fields that are settings of the model itself."""


def _kept_days(days: int | None, default: int) -> float:
    return (default if days is None else days) or float("inf")


def _features_of(model: Model) -> dict[str, bool]:
    """List the features that are known, and whether each is a number; hashed ones are text."""
    known = compared_features(model)
    declaring = model.versions.filter(signature__isnull=False)
    known |= {image: True for version in declaring if (image := signature_of(version).image_input)}
    known |= {name: known.get(name, False) for name in model.privacy}
    return dict(sorted(known.items()))


def store_parts(parts: Mapping[str, SettingsPart], visitor: Visitor, store: Callable[[], None]) -> bool:
    """Store what a form sent, all of it or nothing, and return whether it was; the parts say what is wrong with it.

    Nothing is stored of a page that is only looked at. Raises Problem where the visitor may not change it.
    """
    is_valid = [part.is_valid() for part in parts.values()]  # each shows its faults
    if not all(is_valid):
        return False
    visitor.check_rights(
        {pointer: thing for part in parts.values() for pointer, thing in part.changed_things().items()}
    )
    try:
        store()
    except Problem as problem:
        explain_in(parts, problem)
        return False
    return True


def explain_in(parts: Mapping[str, forms.Form], problem: Problem) -> None:
    """Put the faults of a problem at their fields, and what belongs to none above the first form."""
    faults = [(fault.pointer.strip("/").split("/"), fault.detail) for fault in problem.errors]
    for names, detail in faults or [([""], problem.detail)]:
        found = ((part, name) for name in reversed(names) for part in parts.values() if name in part.fields)
        part, name = next(found, (next(iter(parts.values())), None))
        part.add_error(name, detail)
