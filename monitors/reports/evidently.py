"""The one place that knows Evidently: builds its drift report from arrays. Imported only inside a Celery task."""

import os
from pathlib import Path

import numpy as np
import pandas as pd

os.environ["DO_NOT_TRACK"] = "1"

from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset


def write_drift_report(reference: dict[str, np.ndarray], current: dict[str, np.ndarray], path: Path) -> None:
    """Write Evidently's drift report of `current` against `reference` as one HTML file.

    Object columns are categories, all others numbers: told to Evidently, so that a type never flips with the data.
    """
    numerical = [name for name, values in reference.items() if values.dtype != object]
    definition = DataDefinition(
        numerical_columns=numerical, categorical_columns=[name for name in reference if name not in numerical]
    )
    sides = [
        Dataset.from_pandas(pd.DataFrame(_usable(side, current, reference)), data_definition=definition)
        for side in (current, reference)
    ]
    snapshot = Report([DataDriftPreset()], include_tests=True).run(sides[0], sides[1])
    snapshot.save_html(str(path))


def _usable(
    side: dict[str, np.ndarray], current: dict[str, np.ndarray], reference: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Leave out columns that one side has no value of: Evidently refuses a whole report for one empty column."""
    return {
        name: values
        for name, values in side.items()
        if name in current and name in reference and _has_value(current[name]) and _has_value(reference[name])
    }


def _has_value(values: np.ndarray) -> bool:
    return bool(pd.notna(values).any())
