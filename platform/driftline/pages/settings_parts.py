"""The forms of a model's settings page: each holds some settings, and says which of them were changed to what."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from django import forms
from django.conf import settings
from django.forms import BoundField

from driftline.common.errors import Problem
from driftline.pages.access import Visitor
from inference.prediction_log.spool.privacy import DROP, HASH, KEEP, SUMMARY
from inference.registry.models import Autonomy, Model, ModelTask, RowsKept, SchemaPolicy
from inference.registry.services import MAX_RETENTION_DAYS
from monitors.definitions.expectations import kinds_of_features
from monitors.definitions.models import MonitorKind
from monitors.metrics.catalogue import METRICS
from monitors.stats.promotion.gate import CUSTOM_PREFIX, RELATIVE_MARGINS, GatePolicy
from monitors.workflows.custom_metrics import custom_margins
from monitors.workflows.models import Workflow
from monitors.workflows.pairs import JUDGED

MAX_HOURS = 87_600
POLICIES = [
    (KEEP, "kept as it is"),
    (HASH, "hashed: equal values stay equal, and nobody can read them"),
    (SUMMARY, "keep aggregates only, delete raw values"),
    (DROP, "dropped: neither kept nor summarised"),
]
NUMBER_POLICIES = [one for one in POLICIES if one[0] != HASH]
_GATE_DEFAULTS = GatePolicy(objective="")


class SettingsPart(forms.Form):
    """Some settings of a model. Those that a visitor may not change are shown, and what is not sent stays as it is."""

    def __init__(self, model: Model, visitor: Visitor, data: Any = None) -> None:
        self.model = model
        super().__init__(data, initial=self.stored())
        self.prepare()
        for name, field in self.fields.items():
            if data is not None and name not in data and not isinstance(field, forms.BooleanField):
                field.disabled = True  # a page that was open before has no such field
            if not visitor.may(self.thing_of(name)):
                field.widget.attrs["disabled"] = True

    def stored(self) -> dict[str, Any]:
        """Give the present value of each field."""
        return {name: getattr(self.model, name) for name in self.base_fields}

    def prepare(self) -> None:
        """Bring the fields to the model."""

    def thing_of(self, name: str) -> str:
        """Return what a field changes, as the table of rights calls it."""
        return f"model.{name}"

    def changed_things(self) -> dict[str, str]:
        """Return what was changed, by the pointer that a refusal names."""
        return {f"/{name}": self.thing_of(name) for name in self.changed_data if name != "sure"}

    def changes(self) -> dict[str, Any]:
        """Return the new values of what was changed, as the model's service takes them."""
        return {name: self.cleaned_data[name] for name in self.changed_data}


class AboutForm(SettingsPart):
    """What the model is, and who answers for it."""

    description = forms.CharField(max_length=500, required=False, help_text="What it predicts, in words.")
    owner = forms.CharField(
        max_length=200,
        required=False,
        help_text="The person or team that answers for it, such as payments@bank.",
    )
    tags = forms.CharField(
        max_length=1_100,
        required=False,
        help_text="Words to find it by, with spaces between: fraud team:payments.",
    )
    task = forms.ChoiceField(choices=ModelTask.choices, required=False)
    schema_policy = forms.ChoiceField(
        choices=SchemaPolicy.choices,
        required=False,
        label="Items with other features than the version declares",
    )

    def stored(self) -> dict[str, Any]:
        return super().stored() | {"tags": " ".join(self.model.tags)}

    def prepare(self) -> None:
        if self.model.versions.exists():
            self.fields["task"].disabled = True
            self.fields["task"].help_text = "It stays from the first version on, as answers are read by it."
        else:
            self.fields["task"].help_text = "It can be changed until the first version is there."

    def clean_tags(self) -> list[str]:
        return str(self.cleaned_data["tags"]).replace(",", " ").split()


class ObjectivesForm(SettingsPart):
    """What the model owes its users; default rules and the gate of promotions read it."""

    label_lag_hours = forms.FloatField(
        required=False, min_value=0, max_value=MAX_HOURS, label="Labels arrive within (hours)",
        help_text="Empty: learnt from the labels that arrive. Younger windows are not judged.",
    )  # fmt: skip
    latency_p99_ms = forms.FloatField(required=False, min_value=0.001, label="99 % of answers within (ms)")
    requests_per_second = forms.FloatField(required=False, min_value=0.001, label="Requests a second")
    quality_metric = forms.ChoiceField(required=False, label="Quality is measured by")
    quality_floor = forms.FloatField(required=False, label="and its limit is")
    quantile = forms.FloatField(
        required=False, min_value=0.001, max_value=0.999, label="Predicted quantile",
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


class WorkflowForm(SettingsPart):
    """How the model is retrained, and what a challenger must show before it is promoted."""

    autonomy = forms.ChoiceField(choices=Autonomy.choices, required=False, label="Autonomy")
    trainer = forms.ChoiceField(required=False)
    parameters = forms.CharField(
        required=False, max_length=4_000, widget=forms.Textarea(attrs={"rows": 3}), label="Its parameters",
        help_text="One a line, such as trees = 200. Empty: the trainer's own.",
    )  # fmt: skip
    training_days = forms.IntegerField(
        required=False, min_value=1, max_value=10_000_000, label="Train on the newest (days)",
        help_text="Empty: all days that the log has.",
    )  # fmt: skip
    min_training_rows = forms.IntegerField(
        required=False, min_value=1, max_value=10_000_000, label="Train on at least (labelled rows)"
    )
    max_runs_a_day = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=10_000_000,
        label="Runs that nobody starts by hand, at most (a day)",
    )
    cooldown_hours = forms.IntegerField(
        required=False, min_value=0, max_value=10_000_000, label="Between two of them, at least (hours)"
    )
    schedule = forms.CharField(
        required=False, max_length=100, label="Start runs by a schedule",
        help_text="Minute, hour, day, month and weekday, as cron has them: 0 3 * * 1 is Mondays at 3:00. Empty: none.",
    )  # fmt: skip
    schedule_zone = forms.CharField(required=False, max_length=64, label="Time zone of the schedule")
    every_labels = forms.IntegerField(
        required=False, min_value=1, max_value=10_000_000, label="Start a run after (new labelled rows)",
        help_text="Of the days after the data of the newest run that trained. Empty: none.",
    )  # fmt: skip
    pairs = forms.IntegerField(
        required=False, min_value=1, max_value=10_000_000, label="First verdict after (labelled pairs)",
        help_text="A pair is one request that champion and challenger both answered.",
    )  # fmt: skip
    max_pairs = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=10_000_000,
        label="Reject when undecided after (labelled pairs)",
    )
    objective = forms.ChoiceField(required=False, label="The challenger must be better by")
    min_segment_labelled = forms.IntegerField(
        required=False, min_value=1, max_value=10_000_000, label="Segments are judged from (labelled pairs)"
    )
    p99_ratio = forms.FloatField(
        required=False, min_value=1, label="p99 latency: at most (times the champion's)"
    )
    p99_cap_ms = forms.FloatField(
        required=False,
        min_value=0.001,
        label="or in any case below (ms)",
        help_text="Empty: as the objectives say.",
    )

    def stored(self) -> dict[str, Any]:
        self.workflow = Workflow.of(self.model)
        gate = self.workflow.gate
        own = {name: getattr(self.workflow, name) for name in _OF_WORKFLOW}
        judged = {name: gate.get(name, getattr(_GATE_DEFAULTS, name)) for name in _OF_GATE}
        margins = {f"margin_{name}": margin for name, margin in self._margins().items()}
        parameters = "\n".join(
            f"{name} = {_as_text(value)}" for name, value in self.workflow.parameters.items()
        )
        return own | judged | margins | {
            "autonomy": self.model.autonomy, "parameters": parameters, "objective": gate.get("objective", ""),
        }  # fmt: skip

    def prepare(self) -> None:
        trainers = dict.fromkeys([*settings.TRAINERS, self.workflow.trainer])
        self.fields["trainer"].choices = [(name, name) for name in trainers]  # type: ignore[attr-defined]
        judged = JUDGED.get(self.model.task, ())
        self.fields["objective"].choices = [  # type: ignore[attr-defined]
            ("", "the metric of its quality objective, else the first of these"),
            *((name, METRICS[name].title) for name in judged),
        ]
        for name in dict.fromkeys([*judged, *custom_margins(self.model), *self._margins()]):
            unit = " (share of the champion's)" if name in RELATIVE_MARGINS else ""
            title = METRICS[name].title if name in METRICS else name.removeprefix(CUSTOM_PREFIX)
            self.fields[f"margin_{name}"] = forms.FloatField(
                required=False, min_value=0, label=f"{title}: worse by at most{unit}"
            )

    def margin_fields(self) -> Iterator[BoundField]:
        """Give the fields of the margins."""
        return (self[name] for name in self.fields if name.startswith("margin_"))

    def thing_of(self, name: str) -> str:
        return "model.autonomy" if name == "autonomy" else "model.workflow"

    def clean_parameters(self) -> dict[str, Any]:
        lines = [line for line in str(self.cleaned_data["parameters"]).splitlines() if line.strip()]
        if wrong := next((line for line in lines if "=" not in line), None):
            raise forms.ValidationError(f"{wrong.strip()[:64]!r} has no '='; write one as trees = 200.")
        pairs = (line.split("=", 1) for line in lines)
        return {name.strip(): _as_value(value.strip()) for name, value in pairs}

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        for name in self.changed_data:
            if name in _NEEDED and values.get(name) is None and name not in self.errors:
                self.add_error(name, "Enter a whole number from 1.")
        return values

    def changes(self) -> dict[str, Any]:
        return {"autonomy": self.cleaned_data["autonomy"]} if "autonomy" in self.changed_data else {}

    def workflow_changes(self) -> dict[str, Any]:
        """Return the new values of what was changed, as the workflow's service takes them."""
        changed, values = set(self.changed_data), self.cleaned_data
        found = {name: values[name] for name in (*_OF_WORKFLOW, "parameters") if name in changed}
        gate = dict(self.workflow.gate)
        for name in changed & {"objective", *_OF_GATE}:
            gate[name] = values[name]
        if any(name.startswith("margin_") for name in changed):
            margins = {
                name.removeprefix("margin_"): values[name]
                for name in self.fields
                if name.startswith("margin_")
            }
            gate["margins"] = {name: margin for name, margin in margins.items() if margin is not None}
        gate = {name: value for name, value in gate.items() if value not in (None, "")}
        return found | ({"gate": gate} if gate != self.workflow.gate else {})

    def _margins(self) -> Mapping[str, float]:
        """Give the margins in force; of the usual ones those of metrics that are judged here."""
        judged = JUDGED.get(self.model.task, ())
        usual = {name: margin for name, margin in _GATE_DEFAULTS.margins.items() if name in judged}
        margins: Mapping[str, float] = self.workflow.gate.get("margins", usual)
        return margins


_OF_WORKFLOW = (
    "trainer", "training_days", "min_training_rows", "pairs", "max_pairs", "max_runs_a_day", "cooldown_hours",
    "schedule", "schedule_zone", "every_labels",
)  # fmt: skip
_NEEDED = ("min_training_rows", "pairs", "max_pairs", "max_runs_a_day", "cooldown_hours", "schedule_zone")
_OF_GATE = ("min_segment_labelled", "p99_ratio", "p99_cap_ms")


def _as_value(text: str) -> Any:
    """Read a parameter's value: a number, true, false, null or a list as JSON writes them, else the text itself."""
    try:
        return text if "\\u0000" in text else json.loads(text, parse_constant=_refuse_constant)
    except ValueError:
        return text


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) and _as_value(value) == value else json.dumps(value)


class KeepingForm(SettingsPart):
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

    def stored(self) -> dict[str, Any]:
        return {name: getattr(self.model, name) for name in ("rows_kept", *_USUAL_DAYS)}

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
        return f"model.{name}" if name in ("rows_kept", *_USUAL_DAYS) else "model.privacy"

    def policy_fields(self) -> Iterator[BoundField]:
        """Give the fields of the features, in the order of their names."""
        return (self[f"feature_{place}"] for place in range(len(self.features)))

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if not values.get("sure") and not self.errors and self._destroys(values):
            self.add_error("sure", "This deletes data, or stops keeping it; confirm it.")
        return values

    def _destroys(self, values: dict[str, Any]) -> bool:
        """Tell whether rows or summaries go earlier than before, or a feature is no longer kept as it is."""
        if (self.model.rows_kept, values["rows_kept"]) == (RowsKept.ALL, RowsKept.NONE):
            return True
        is_shorter = any(
            _kept_days(values[name], getattr(settings, setting))
            < _kept_days(getattr(self.model, name), getattr(settings, setting))
            for name, setting in _USUAL_DAYS.items()
        )
        return is_shorter or any(policy != KEEP for policy in self._policies(values).values())

    def changes(self) -> dict[str, Any]:
        plain = {
            name: self.cleaned_data[name] for name in self.changed_data if name in ("rows_kept", *_USUAL_DAYS)
        }
        policies = self._policies(self.cleaned_data)
        return plain | ({"privacy": policies} if policies else {})

    def _policies(self, values: dict[str, Any]) -> dict[str, str]:
        """Give the new policy of each feature that has another one than before."""
        chosen = {name: values[f"feature_{place}"] for place, name in enumerate(self.features)}
        return {
            name: policy for name, policy in chosen.items() if policy != self.model.privacy.get(name, KEEP)
        }


_USUAL_DAYS = {
    "retention_days": "RETENTION_DAYS",
    "summary_retention_days": "SUMMARY_RETENTION_DAYS",
}
"""The days of a model that empty ones are read from, by setting."""


def _kept_days(days: int | None, default: int) -> float:
    return (default if days is None else days) or float("inf")


def _features_of(model: Model) -> dict[str, bool]:
    """List the features that are known, and whether each is a number; hashed ones are text."""
    known = kinds_of_features(model)
    known |= {name: known.get(name, False) for name in model.privacy}
    return dict(sorted(known.items()))


def explain_in(parts: Mapping[str, SettingsPart], problem: Problem) -> None:
    """Put the faults of a problem at their fields, and what belongs to none above the first form."""
    faults = [(fault.pointer.strip("/").split("/"), fault.detail) for fault in problem.errors]
    for names, detail in faults or [([""], problem.detail)]:
        found = ((part, name) for name in reversed(names) for part in parts.values() if name in part.fields)
        part, name = next(found, (next(iter(parts.values())), None))
        part.add_error(name, detail)
