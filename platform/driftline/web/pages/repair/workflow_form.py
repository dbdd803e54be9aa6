"""The forms of a model's workflow page: what trains, what starts runs, and what a challenger must show."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from django import forms
from django.conf import settings
from django.forms import BoundField

from driftline.base.errors import Problem
from driftline.base.strict_json import read_json
from driftline.web.pages.access import Visitor
from driftline.web.pages.models.settings_parts import SettingsPart
from inference.registry.models import Autonomy, Model
from monitors.metrics.catalogue import METRICS
from monitors.stats.promotion.gate import MIN_SLOWDOWN_MS, RELATIVE_MARGINS, GatePolicy
from monitors.workflows.judging.margins import CUSTOM_PREFIX, custom_margins
from monitors.workflows.judging.pairs import JUDGED
from monitors.workflows.models import Workflow
from monitors.workflows.settings import MOST, PairSettings, StartSettings, TrainingSettings
from monitors.workflows.trainers.parameters import SCHEMAS, Schema

GATE_DEFAULTS = GatePolicy(objective="")
_PARAMETER = "parameter_"
_MARGIN = "margin_"


class WorkflowPart(SettingsPart):
    """Some settings of a workflow, each in a field of its name."""

    def stored(self) -> dict[str, Any]:
        self.workflow = Workflow.of(self.model)
        return {name: getattr(self.workflow, name, None) for name in self.base_fields}

    def thing_of(self, name: str) -> str:
        return "model.workflow"

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        for name in self.changed_data:
            is_needed = name in self.base_fields and not _may_be_empty(name)
            if is_needed and values.get(name) is None and name not in self.errors:
                self.add_error(name, "Enter a whole number.")
        return values


def _may_be_empty(name: str) -> bool:
    """Return whether a setting of the workflow may be left out: it is no number that something must be done by."""
    field = Workflow._meta.get_field(name) if hasattr(Workflow, name) else None
    return field is None or bool(getattr(field, "null", False)) or field.get_internal_type() != "IntegerField"


class TrainerForm(WorkflowPart):
    """What trains a challenger, with a field for each parameter that the trainer's schema names."""

    schema = TrainingSettings

    def __init__(self, model: Model, visitor: Visitor, data: Any = None, *, trainer: str = "") -> None:
        self.trainer = trainer or Workflow.of(model).trainer
        super().__init__(model, visitor, data)

    def prepare(self) -> None:
        known = self.workflow.parameters if self.trainer == self.workflow.trainer else {}
        if self.trainer in SCHEMAS:
            for name, schema in SCHEMAS[self.trainer]["properties"].items():
                self.fields[_PARAMETER + name] = _field_of(schema)
                self.initial[_PARAMETER + name] = _as_shown(known.get(name), schema)
        else:
            self.fields["parameters"] = forms.CharField(
                required=False, max_length=4_000, widget=forms.Textarea(attrs={"rows": 3}), label="Parameters",
                help_text="One a line, such as trees = 200. Empty: the trainer's own.",
            )  # fmt: skip
            self.initial["parameters"] = "\n".join(
                f"{key} = {_as_text(value)}" for key, value in known.items()
            )

    def parameter_fields(self) -> Iterator[BoundField]:
        """Yield the fields of the trainer's parameters."""
        return (self[name] for name in self.fields if name.startswith("parameter"))

    def clean_parameters(self) -> str:
        text = str(self.cleaned_data["parameters"])
        if wrong := next((line for line in text.splitlines() if line.strip() and "=" not in line), None):
            raise forms.ValidationError(f"{wrong.strip()[:64]!r} has no '='; write one as trees = 200.")
        return text

    def changes(self) -> dict[str, Any]:
        found = {name: value for name, value in super().changes().items() if name in self.base_fields}
        is_other = self.trainer != self.workflow.trainer
        if is_other:
            found["trainer"] = self.trainer
        if is_other or any(name.startswith("parameter") for name in self.changed_data):
            found["parameters"] = self._parameters()
        return found

    def _parameters(self) -> dict[str, Any]:
        """Return what was entered; what is empty is the trainer's own, and what was not sent stays."""
        values = self.cleaned_data
        if "parameters" in self.fields:
            pairs = (line.split("=", 1) for line in values["parameters"].splitlines() if line.strip())
            return {name.strip(): _as_value(value.strip()) for name, value in pairs}
        entered = {
            name.removeprefix(_PARAMETER): _as_value(value) if isinstance(value, str) else value
            for name, value in values.items()
            if name.startswith(_PARAMETER)
        }
        return {name: value for name, value in entered.items() if value not in (None, "")}


class StartsForm(WorkflowPart):
    """What starts a run without a person, and how often."""

    schema = StartSettings

    autonomy = forms.ChoiceField(choices=Autonomy.choices, required=False, label="Autonomy")

    def stored(self) -> dict[str, Any]:
        return super().stored() | {"autonomy": self.model.autonomy}

    def thing_of(self, name: str) -> str:
        return "model.autonomy" if name == "autonomy" else super().thing_of(name)

    def clean_schedule_zone(self) -> str:
        return str(self.cleaned_data["schedule_zone"]) or "UTC"

    def changes(self) -> dict[str, Any]:
        return {name: value for name, value in super().changes().items() if name != "autonomy"}

    def model_changes(self) -> dict[str, Any]:
        """Return the new autonomy where it was changed, as the model's service takes it."""
        return {"autonomy": self.cleaned_data["autonomy"]} if "autonomy" in self.changed_data else {}


class GateForm(WorkflowPart):
    """What a challenger must show before it takes over."""

    schema = PairSettings

    objective = forms.ChoiceField(required=False, label="The challenger must be better by")
    min_segment_labelled = forms.IntegerField(
        required=False, min_value=1, max_value=MOST, label="Segments are judged from (labelled pairs)"
    )
    p99_ratio = forms.FloatField(
        required=False, min_value=1, label="p99 latency: at most (times the champion's)",
        help_text=f"One that is up to {MIN_SLOWDOWN_MS:g} ms longer passes too.",
    )  # fmt: skip
    p99_cap_ms = forms.FloatField(
        required=False, min_value=0.001, label="or in any case below (ms)",
        help_text="Empty: as the objectives say.",
    )  # fmt: skip

    def stored(self) -> dict[str, Any]:
        own, gate = super().stored(), Workflow.of(self.model).gate
        judged = {name: gate.get(name, getattr(GATE_DEFAULTS, name)) for name in _OF_GATE}
        margins = {_MARGIN + name: margin for name, margin in margins_of(self.workflow).items()}
        return own | judged | margins | {"objective": gate.get("objective", "")}

    def prepare(self) -> None:
        judged = JUDGED.get(self.model.task, ())
        self.fields["objective"].choices = [  # type: ignore[attr-defined]
            ("", "the metric of its quality objective, else the first of these"),
            *((name, METRICS[name].title) for name in judged),
        ]
        for name in dict.fromkeys([*judged, *custom_margins(self.model), *margins_of(self.workflow)]):
            unit = " (share of the champion's)" if name in RELATIVE_MARGINS else ""
            title = METRICS[name].title if name in METRICS else name.removeprefix(CUSTOM_PREFIX)
            self.fields[_MARGIN + name] = forms.FloatField(
                required=False, min_value=0, label=f"{title}: worse by at most{unit}"
            )

    def margin_fields(self) -> Iterator[BoundField]:
        """Yield the fields of the margins."""
        return (self[name] for name in self.fields if name.startswith(_MARGIN))

    def changes(self) -> dict[str, Any]:
        changed, values = set(self.changed_data), self.cleaned_data
        found = {name: values[name] for name in changed & self.schema.model_fields.keys()}
        gate = dict(self.workflow.gate)
        for name in changed & {"objective", *_OF_GATE}:
            gate[name] = values[name]
        if any(name.startswith(_MARGIN) for name in changed):
            margins = {
                name.removeprefix(_MARGIN): values[name] for name in self.fields if name.startswith(_MARGIN)
            }
            gate["margins"] = {name: margin for name, margin in margins.items() if margin is not None}
        gate = {name: value for name, value in gate.items() if value not in (None, "")}
        return found | ({"gate": gate} if gate != self.workflow.gate else {})


_OF_GATE = ("min_segment_labelled", "p99_ratio", "p99_cap_ms")


def trainers_of(workflow: Workflow) -> list[str]:
    """List the trainers that the operator allows, and the one that is set."""
    return list(dict.fromkeys([*settings.TRAINERS, workflow.trainer]))


def margins_of(workflow: Workflow) -> Mapping[str, float]:
    """Return the margins in force; of the usual ones those of metrics that are judged of the model."""
    judged = JUDGED.get(workflow.model.task, ())
    usual = {name: margin for name, margin in GATE_DEFAULTS.margins.items() if name in judged}
    margins: Mapping[str, float] = workflow.gate.get("margins", usual)
    return margins


def _field_of(schema: Schema) -> forms.Field:
    """Make the field of one parameter; it is empty where the trainer's own value is used."""
    own = schema["default"] if isinstance(schema["default"], str) else f"{schema['default']:,.12g}"
    words = {
        "required": False,
        "label": schema["title"],
        "help_text": f"{schema.get('description', '')} Empty: {own}.".strip(),
    }
    if isinstance(schema["type"], list):
        return forms.CharField(max_length=64, **words)
    build = forms.IntegerField if schema["type"] == "integer" else forms.FloatField
    return build(min_value=schema["minimum"], max_value=schema["maximum"], **words)


def _as_value(text: str) -> Any:
    """Read a parameter's value: a number, true, false, null or a list as JSON writes them, else the text itself."""
    try:
        return read_json(text.encode())
    except (Problem, ValueError):
        return text


def _as_shown(value: Any, schema: Schema) -> Any:
    return _as_text(value) if value is not None and isinstance(schema["type"], list) else value


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) and _as_value(value) == value else json.dumps(value)
