"""The rollout plan on a model's workflow page: its steps as lines of text, and what surrounds them."""

from typing import Any

from django import forms

from driftline.base.errors import Problem
from driftline.web.pages.models.settings_parts import SettingsPart
from monitors.workflows.models import Workflow
from monitors.workflows.rollouts.plan import Guard, RolloutPlan
from monitors.workflows.rollouts.plan_text import EXAMPLE, UnreadableStep, read_steps, write_steps
from monitors.workflows.services import checked_rollout

HOUR = 3_600
_FIELD_OF = {
    "steps": "rollout_steps",
    "watch_seconds": "rollout_watch_hours",
    "max_step_seconds": "rollout_max_step_hours",
    "report_only": "rollout_report_only",
    "hooks": "rollout_hooks",
}


class RolloutForm(SettingsPart):
    """How a challenger that passed the gate takes over."""

    rollout_steps = forms.CharField(
        required=False, max_length=4_000, widget=forms.Textarea(attrs={"rows": 4}), label="Shares it answers first",
        help_text=f"One a line, such as {EXAMPLE}; the promotion follows the last. Empty: it is promoted at once.",
    )  # fmt: skip
    rollout_max_step_hours = forms.FloatField(
        required=False, min_value=0.01, max_value=720, label="Ask a person when a step takes longer than (hours)",
    )  # fmt: skip
    rollout_watch_hours = forms.FloatField(
        required=False, min_value=0, max_value=720, label="Watch it after the promotion for (hours)",
        help_text="The old champion answers copies of the same requests, which measures the repair. 0: no watch.",
    )  # fmt: skip
    rollout_report_only = forms.CharField(
        required=False, max_length=400, label="Guards that only report",
        help_text=f"Separated by commas, some of {', '.join(Guard)}. They say what they find and stop nothing.",
    )  # fmt: skip

    rollout_hooks = forms.CharField(
        required=False, max_length=600, label="Webhook channels to ask first",
        help_text="Names, separated by commas. Each is asked before each step and before the promotion; a 2xx agrees.",
    )  # fmt: skip

    def stored(self) -> dict[str, Any]:
        self.plan = RolloutPlan.parse(Workflow.of(self.model).rollout)
        return {
            "rollout_steps": write_steps(self.plan.steps),
            "rollout_watch_hours": round(self.plan.watch_seconds / HOUR, 4),
            "rollout_max_step_hours": round(self.plan.max_step_seconds / HOUR, 4),
            "rollout_report_only": ", ".join(self.plan.report_only),
            "rollout_hooks": ", ".join(self.plan.hooks),
        }

    def thing_of(self, name: str) -> str:
        return "model.workflow"

    def clean_rollout_steps(self) -> Any:
        text = self.cleaned_data["rollout_steps"]
        if text.splitlines() == write_steps(self.plan.steps).splitlines():
            self.steps = self.plan.as_json()["steps"]  # with weights of more digits than a line has
            return text
        try:
            self.steps = read_steps(text)
        except UnreadableStep as error:
            raise forms.ValidationError(str(error)) from error
        return text

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        for name in ("rollout_watch_hours", "rollout_max_step_hours"):
            if name in self.changed_data and values.get(name) is None and name not in self.errors:
                self.add_error(name, "Enter a number of hours.")
        if not self.errors and self.changed_data:
            try:
                checked_rollout(self.model, self._plan())
            except Problem as problem:
                fault = problem.errors[0]
                part = fault.pointer.removeprefix("/workflow/rollout/").split("/")[0]
                self.add_error(_FIELD_OF.get(part), fault.detail)
        return values

    def changes(self) -> dict[str, Any]:
        """Return the new plan where some of it was changed, as the workflow's service takes it."""
        return {"rollout": self._plan()} if self.changed_data else {}

    def _plan(self) -> dict[str, Any]:
        """Write the plan of before with what was changed."""
        values, plan = self.cleaned_data, self.plan.as_json()
        new = {
            "rollout_steps": ("steps", self.steps),
            "rollout_watch_hours": ("watch_seconds", _seconds(values["rollout_watch_hours"])),
            "rollout_max_step_hours": ("max_step_seconds", _seconds(values["rollout_max_step_hours"])),
            "rollout_report_only": ("report_only", _names(values["rollout_report_only"])),
            "rollout_hooks": ("hooks", _names(values["rollout_hooks"])),
        }
        return plan | dict(value for name, value in new.items() if name in self.changed_data)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _seconds(hours: float | None) -> int:
    return round((hours or 0) * HOUR)
