"""What a step gets to see, and what it may answer."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any

from django.conf import settings

from driftline.base.periods import rfc3339
from inference.registry.models import Model
from inference.registry.selectors import signature_of
from inference.signatures import Signature
from monitors.workflows.models import Run, Step, Workflow

type Evidence = dict[str, Any]
type Effect = Callable[[Run], Evidence]


class StepFailed(Exception):
    """The step cannot succeed however often it is tried; the message says why and what to change."""


class ChangedMeanwhile(Exception):
    """Somebody changed what the step's answer rests on: nothing of it is written, and the run looks again at once."""


@dataclass(frozen=True)
class RunContext:
    """One run at one step. `lost` is set when the run is no longer this worker's: a long step stops then."""

    run: Run
    workflow: Workflow
    step: Step
    lost: Event

    @property
    def model(self) -> Model:
        return self.run.model

    @property
    def actor(self) -> str:
        return f"run {self.run.pk}"

    @property
    def folder(self) -> Path:
        return run_folder(self.run.pk)

    @cached_property
    def signature(self) -> Signature:
        signature = signature_of(self.run.champion)
        if signature is None:
            raise StepFailed(
                f"Version {self.run.champion.version} has no signature; upload its model or reference."
            )
        return signature

    def evidence_of(self, name: str) -> Evidence:
        """What an earlier step of this run found."""
        return self.run.steps.get(name=name).evidence


class StepAnswer(StrEnum):
    DONE = "done"
    WAITING = "waiting"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True)
class StepOutcome:
    """A step's answer. `effect` changes other rows in the very transaction that records the answer.

    It may raise ChangedMeanwhile.
    """

    answer: StepAnswer
    evidence: Evidence = field(default_factory=dict)
    waiting_for: str = ""
    needs: str = ""
    reason: str = ""
    verdict: Evidence | None = None
    effect: Effect | None = None


def done(evidence: Evidence, *, effect: Effect | None = None, verdict: Evidence | None = None) -> StepOutcome:
    """The step is finished; the next one may start."""
    return StepOutcome(StepAnswer.DONE, evidence, effect=effect, verdict=verdict)


def waiting(
    waiting_for: str,
    *,
    needs: str,
    evidence: Evidence | None = None,
    effect: Effect | None = None,
    verdict: Evidence | None = None,
) -> StepOutcome:
    """The step goes on when `needs` (`traffic`, `person` or `pipeline`) has come; it is asked again then."""
    return StepOutcome(StepAnswer.WAITING, evidence or {}, waiting_for, needs, effect=effect, verdict=verdict)


def rejected(reason: str, evidence: Evidence, *, verdict: Evidence | None = None) -> StepOutcome:
    """The challenger is not good enough: the run ends and the champion stays."""
    return StepOutcome(StepAnswer.REJECTED, evidence, reason=reason, verdict=verdict)


def rolled_back(reason: str, evidence: Evidence, *, effect: Effect | None = None) -> StepOutcome:
    """The challenger does harm: the run ends, and the champion of before answers all requests."""
    return StepOutcome(StepAnswer.ROLLED_BACK, evidence, reason=reason, effect=effect)


ARTIFACT_FILE = "artifact.onnx"
"""What a pipeline sent, in the folder of its run."""


def run_folder(run_id: int) -> Path:
    """The working folder of a run; it goes when the run ends."""
    return Path(settings.HOME) / "runs" / str(run_id)


def to_json(value: Any) -> Any:
    """Make evidence fit for a JSON column: dataclasses become objects, numbers without a value become null."""
    if is_dataclass(value) and not isinstance(value, type):
        return to_json(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
