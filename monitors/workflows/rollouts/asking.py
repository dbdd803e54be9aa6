"""Asks the hooks of a plan before each step and before the promotion: any that does not agree holds the rollout."""

from monitors.workflows.hooks import ask_webhook
from monitors.workflows.models import Run
from monitors.workflows.rollouts.plan import RolloutPlan

MAX_REFUSALS = 5
"""In a row, before a person is asked."""


def refusal_of_hooks(run: Run, plan: RolloutPlan, place: int) -> str:
    """Ask every hook about the step at `place`, their number being the promotion; returns the first refusal, or ""."""
    is_promotion = place >= len(plan.steps)
    event = "rollout.before_promotion" if is_promotion else "rollout.before_step"
    question = {
        "rollout": {
            "run": run.pk,
            "model": run.model.name,
            "champion": run.champion.version,
            "challenger": run.challenger.version if run.challenger else None,
            "step": place + 1,
            "steps": len(plan.steps),
            "weight": 1.0 if is_promotion else plan.steps[place].weight,
        }
    }
    for name in plan.hooks:
        if refusal := ask_webhook(run.model.project, name, event, f"run-{run.pk}-step-{place + 1}", question):
            return refusal
    return ""
