"""What is measured of images and embeddings, added up by agents and servers of different releases."""

from typing import Any

import numpy as np
import pytest

from driftline_agent.measures import measure
from driftline_agent.rows.row_summaries import Layout, add_rows
from driftline_agent.rows.window_store import WHOLE, Window
from driftline_agent.server.manifest import ImageLayout, Signature, TensorSpec
from monitors.stats.mergeable.sketches import NumericSummary
from monitors.stats.mergeable.window_summary import WindowSummary

NAMES = ("photo.brightness", "photo.contrast", "photo.sharpness")


def layout(*measured: tuple[str, float | None], says_measured: bool = True) -> Layout:
    document: dict[str, Any] = {
        "features": [], "prediction_centre": 0.0, "task": "regression", "positive_class": None,
        "segment_features": [], "missing": [],
    }  # fmt: skip
    if says_measured:
        document["measured"] = [{"name": name, "centre": centre} for name, centre in measured]
    return Layout.read(document)


def rows(count: int, *names: str) -> list[dict[str, Any]]:
    return [
        {"features": dict.fromkeys(names, 0.25), "prediction": 1.0, "latency_ms": 2.0} for _ in range(count)
    ]


def counted(windows: dict[str, Window]) -> dict[str, int]:
    """Count the values of each feature, all of which must be numbers of all rows."""
    summary = WindowSummary.decode(windows[WHOLE].summary)
    for column in summary.features.values():
        assert isinstance(column, NumericSummary)
        assert column.rows == summary.rows
    return {"rows": summary.rows, **{name: column.n for name, column in summary.features.items()}}


MEASURED = layout(*((name, 0.5) for name in NAMES))


def test_are_in_the_windows_of_an_hour() -> None:
    windows = add_rows(add_rows({}, rows(30, *NAMES), MEASURED), rows(20, *NAMES), MEASURED)

    assert counted(windows) == {"rows": 50} | dict.fromkeys(NAMES, 50)


def test_stay_out_of_an_hour_that_an_earlier_release_began() -> None:
    windows = add_rows({}, rows(30), layout(says_measured=False))

    windows = add_rows(windows, rows(30, *NAMES), MEASURED)

    assert counted(windows) == {"rows": 60}


def test_that_the_server_knows_since_the_middle_of_an_hour_stay_out_of_it() -> None:
    windows = add_rows({}, rows(30, *NAMES), layout((NAMES[0], 0.5)))

    windows = add_rows(windows, rows(30, *NAMES), MEASURED)

    assert counted(windows) == {"rows": 60, NAMES[0]: 60}


def test_without_a_centre_are_asked_for_and_stay_out_until_then() -> None:
    unfixed = layout((NAMES[0], 0.5), (NAMES[1], None))

    assert unfixed.missing == (NAMES[1],)
    assert counted(add_rows({}, rows(30, *NAMES), unfixed)) == {"rows": 30, NAMES[0]: 30}


@pytest.mark.parametrize("size", [3e38, np.inf, np.nan])
def test_that_are_no_numbers_are_missing(size: float) -> None:
    spec = TensorSpec("photo", "FP32", (-1, 2, 2))
    signature = Signature((), (spec,), (), None, None, (), {}, ImageLayout("NHW", 0.0, 1.0), "taste")
    outputs = {"taste": np.full((1, 3), size, np.float32)}

    found = measure(signature, {"photo": np.full((1, 2, 2), np.nan, np.float32)}, outputs)

    assert [np.isnan(found[name][0]) for name in NAMES] == [True] * 3
    assert np.isnan(found["taste.norm"][0])
