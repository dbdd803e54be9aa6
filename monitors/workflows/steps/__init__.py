"""The steps of a run, in order. The reverse shadow that proves a repair comes after `promote`."""

from collections.abc import Callable

from monitors.workflows.context import RunContext, StepOutcome
from monitors.workflows.steps.check_labels import check_labels
from monitors.workflows.steps.convert import convert
from monitors.workflows.steps.gate import gate
from monitors.workflows.steps.promote import promote
from monitors.workflows.steps.register import register
from monitors.workflows.steps.shadow import shadow
from monitors.workflows.steps.snapshot import snapshot
from monitors.workflows.steps.train import train
from monitors.workflows.steps.validate import validate

STEPS: dict[str, Callable[[RunContext], StepOutcome]] = {
    step.__name__: step
    for step in (snapshot, check_labels, train, convert, validate, register, shadow, gate, promote)
}
