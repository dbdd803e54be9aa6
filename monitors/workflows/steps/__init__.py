"""The steps of a run, in their order: one module each.

Input: the context of a run (`RunContext`).
Output: its outcome: done, waiting, rejected or rolled back, with the evidence that the page shows and the change that
is committed with it.

A step may be called again after a crash.

Start with `snapshot.py`; `gate.py` has the verdict.
"""

from collections.abc import Callable

from monitors.workflows.context import RunContext, StepOutcome
from monitors.workflows.steps.check_data import check_data
from monitors.workflows.steps.check_labels import check_labels
from monitors.workflows.steps.convert import convert
from monitors.workflows.steps.gate import gate
from monitors.workflows.steps.promote import promote
from monitors.workflows.steps.register import register
from monitors.workflows.steps.rollout import rollout
from monitors.workflows.steps.shadow import shadow
from monitors.workflows.steps.snapshot import snapshot
from monitors.workflows.steps.train import train
from monitors.workflows.steps.validate import validate
from monitors.workflows.steps.watch import watch

STEPS: dict[str, Callable[[RunContext], StepOutcome]] = {
    step.__name__: step
    for step in (
        snapshot,
        check_labels,
        check_data,
        train,
        convert,
        validate,
        register,
        shadow,
        gate,
        rollout,
        promote,
        watch,
    )
}
