"""What the demo plants, written down before it happens: the page *Demo* holds it against the incidents.

One file a model in `demo/plan` of the home, written by the story that plants, read by the page.
"""

from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from driftline.base.durable_files import write_file


class PlantedFault(Struct, frozen=True, kw_only=True):
    """A fault in event time: `[onset, end)`; without an `end` it goes on."""

    what: str
    """What is done to the data, in a sentence."""
    onset: datetime
    end: datetime | None = None
    column: str = ""
    """The feature that an incident should name first; empty where the inputs stay as they are."""
    segment: str = ""
    """The segment that an incident should name, as `feature:value`."""
    shown_at: datetime | None = None
    """The clock's time from which it could be noticed: the first window that holds it had ended and been sent."""


class PlantedChallenger(Struct, frozen=True, kw_only=True):
    """A version that is made to be judged; a good gate ends with the `expected` verdict."""

    what: str
    expected: str
    """`rejected` or `promoted`."""
    version: str = ""
    run: int | None = None
    """The retrain run that made it; without one a person uploaded it."""
    held_out_gain: float | None = None
    """How much higher than the champion's its ROC AUC was on rows held out of its training."""
    decision: str = ""
    """What the gate said of an uploaded version; of a run the run says it."""
    live_gain: float | None = None
    """The same on requests that both answered live, when the gate decided."""
    reason: str = ""


class ModelPlan(Struct, frozen=True, kw_only=True):
    """What is planted in one model's traffic."""

    number: int
    """Its place on the page."""
    project: str
    model: str
    title: str
    data: str
    """Where the rows are from, and what is made up about them."""
    started_at: datetime
    """The clock's time of the command that started the demo."""
    quiet_from: datetime
    """The event time from which an incident without a planted fault is a false alarm."""
    is_scored: bool = True
    """False where nothing is planted, so that nobody knows which incidents are right."""
    faults: list[PlantedFault] = []
    challengers: list[PlantedChallenger] = []


def plan_path(home: Path, model: str) -> Path:
    return home / "demo" / "plan" / f"{model}.json"


def save_plan(home: Path, plan: ModelPlan) -> ModelPlan:
    """Replace a model's plan as one file, so that the page never reads half of it."""
    path = plan_path(home, plan.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, msgspec.json.encode(plan))
    return plan


def load_plan(home: Path, model: str) -> ModelPlan | None:
    try:
        return msgspec.json.decode(plan_path(home, model).read_bytes(), type=ModelPlan)
    except FileNotFoundError:
        return None


def load_plans(home: Path) -> list[ModelPlan]:
    """Read the plans of all models of the demo, in the order of the page."""
    files = (home / "demo" / "plan").glob("*.json")
    plans = [msgspec.json.decode(path.read_bytes(), type=ModelPlan) for path in files]
    return sorted(plans, key=lambda plan: plan.number)
