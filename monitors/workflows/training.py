"""Finds what the run's trainer left behind."""

from monitors.workflows.context import RunContext, StepFailed
from monitors.workflows.trainers.launch import read_result
from monitors.workflows.trainers.report import TrainingResult


def result_of(context: RunContext) -> TrainingResult:
    """Read the files of the run's finished training; raises StepFailed when this machine does not have them."""
    folder = context.folder / context.evidence_of("train")["folder"]
    try:
        return read_result(folder)
    except FileNotFoundError as error:
        raise StepFailed("The training's files are not on this machine; start a new run.") from error
