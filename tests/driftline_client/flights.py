"""A frame of flights."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
FLIGHTS = pd.DataFrame(
    {
        "delay": [4.5, np.nan, -2.0],
        "hour": pd.array([7, None, 9], dtype="Int64"),
        "carrier": pd.Categorical(["AA", "UA", None]),
        "early": [True, False, True],
        "airport": ["JFK", "LGA", "JFK"],
        "ms": np.array([1.5, 2.5, 3.5], np.float32),
        "answer": ["late", "on time", "late"],
        "late": [0.75, 0.25, 1.0],
        "on time": [0.25, 0.75, 0.0],
        "at": pd.date_range(NOON, periods=3, freq="h"),
        "key": [101, 102, 103],
    }
)


TOLD: Any = {
    "prediction": "answer",
    "features": ["delay", "hour", "carrier", "early"],
    "probabilities": "late",
    "id": "key",
    "timestamp": "at",
    "latency_ms": "ms",
    "tags": ["airport"],
}
