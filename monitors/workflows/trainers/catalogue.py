"""Which trainers exist, and which of them the operator allows."""

from collections.abc import Collection
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monitors.workflows.trainers.data import Trainer

GROUP = "driftline.trainers"
"""Entry-point group in which an installed package offers its own trainer."""

SHIPPED = {
    "sklearn_random_forest": "monitors.workflows.trainers.scikit:random_forest",
    "sklearn_gradient_boosting": "monitors.workflows.trainers.scikit:gradient_boosting",
    "sklearn_logistic_regression": "monitors.workflows.trainers.scikit:logistic_regression",
    "lightgbm": "monitors.workflows.trainers.boosting:lightgbm",
}

REMOTE = "remote"
"""The trainer that is a pipeline elsewhere: nothing of it runs here."""


class TrainerNotAllowed(Exception):
    """The trainer is not installed, or the operator's settings do not allow it."""

    code = "trainer_not_allowed"


def require_allowed_remote(allowed: Collection[str]) -> None:
    """Raise TrainerNotAllowed where the operator lets no rows out to pipelines."""
    if REMOTE not in allowed:
        usable = ", ".join(sorted(allowed)) or "none"
        raise TrainerNotAllowed(f"Trainer '{REMOTE}' is not allowed here; use another: {usable}.")


def entry_point(name: str, allowed: Collection[str] = tuple(SHIPPED)) -> str:
    """Find the `module:function` of the trainer `name`, if `allowed` names it."""
    installed = {point.name: point.value for point in entry_points(group=GROUP)} | SHIPPED
    if name not in allowed or name not in installed:
        usable = sorted(set(allowed) & set(installed))
        raise TrainerNotAllowed(f"Trainer '{name}' is not allowed here; use one of {usable}.")
    return installed[name]


def load_trainer(target: str) -> "Trainer":
    """Import the function behind `module:function`. Only the child calls this: it runs the trainer's code."""
    module, _, function = target.partition(":")
    trainer: Trainer = getattr(import_module(module), function)
    return trainer
