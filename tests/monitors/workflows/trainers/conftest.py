"""Snapshots small enough to check by eye, with the traps of real data: gaps, categories, days."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from inference.signatures import Feature
from monitors.workflows.trainers.job import TrainingJob

FEATURES = [
    Feature("carrier", "string"),
    Feature("distance", "int"),
    Feature("temp", "float"),
    Feature("weekend", "bool"),
]


@pytest.fixture
def snapshot() -> pd.DataFrame:
    """1,200 flights over 12 days: late when carrier is UA or temp is above 20, with some noise and gaps."""
    rng = np.random.default_rng(7)
    rows = 1_200
    carrier = rng.choice(["AA", "DL", "UA"], rows).astype(object)
    temp = rng.normal(15, 6, rows)
    late = (carrier == "UA") | (temp > 20) ^ (rng.random(rows) < 0.05)
    table = pd.DataFrame(
        {
            "carrier": carrier,
            "distance": rng.integers(100, 3_000, rows),
            "temp": temp,
            "weekend": rng.random(rows) < 0.3,
            "label": np.where(late, "late", "on_time"),
            "minutes": 3 * temp + rng.normal(0, 1, rows),
            "time": pd.Timestamp("2026-01-01", tz="UTC")
            + pd.to_timedelta(rng.integers(0, 12 * 24, rows), unit="h"),
        }
    )
    table.loc[::50, "carrier"] = None
    table.loc[::40, "temp"] = np.nan
    return table


@pytest.fixture
def classifier_job(snapshot: pd.DataFrame, tmp_path: Path) -> TrainingJob:
    path = tmp_path / "snapshot.parquet"
    snapshot.drop(columns="minutes").to_parquet(path)
    return TrainingJob(
        data=str(path),
        features=FEATURES,
        task="binary",
        classes=["on_time", "late"],
        positive_class="late",
        folds=3,
        seed=1,
    )


@pytest.fixture
def regressor_job(snapshot: pd.DataFrame, tmp_path: Path) -> TrainingJob:
    path = tmp_path / "regression.parquet"
    snapshot.drop(columns="label").rename(columns={"minutes": "label"}).to_parquet(path)
    return TrainingJob(data=str(path), features=FEATURES, task="regression", folds=3, seed=1)
