"""Trainers that do what a trainer must not; they run only in the subprocess."""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.dummy import DummyClassifier

from monitors.workflows.trainers.data import TrainedModel, TrainingData
from monitors.workflows.trainers.job import TrainingJob
from monitors.workflows.trainers.pipeline import fit_tree_pipeline


def never_ends(job: TrainingJob, data: TrainingData) -> TrainedModel:
    Path("pids").write_text(f"{os.getpid()}")
    time.sleep(600)
    raise AssertionError


def divides_by_zero(job: TrainingJob, data: TrainingData) -> TrainedModel:
    raise ZeroDivisionError("no rows left")


def takes_four_gigabytes(job: TrainingJob, data: TrainingData) -> TrainedModel:
    np.ones(4 << 27)
    raise AssertionError


def spins(job: TrainingJob, data: TrainingData) -> TrainedModel:
    while True:
        pass


def cannot_be_converted(job: TrainingJob, data: TrainingData) -> TrainedModel:
    return fit_tree_pipeline(job, data, DummyClassifier())


def tells_what_it_sees(job: TrainingJob, data: TrainingData) -> TrainedModel:
    seen = {"cwd": os.getcwd(), "environment": dict(os.environ), "modules": sorted(sys.modules)}
    Path("seen.json").write_text(json.dumps(seen))
    raise ZeroDivisionError("nothing to train")
