"""Rows of one version added up, with the kernels of the server's own log: what it would have kept of them.

The kernels (`monitors/stats/mergeable` of Driftline) are in the wheel, and are loaded with this module: it is imported
where there are rows to add up, and not before.
"""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from driftline_agent.model import Array
from driftline_agent.rows.window_store import WHOLE, Window
from monitors.stats.mergeable.window_summary import WindowSummary, merge_windows, summarise_window

MAX_VALUES = 50
"""Values of a feature that are segments of their own in an hour; a feature with more of them has none in it."""
MAX_REACH = 1e38
"""From a centre; a summary cannot hold what lies beyond, so it counts as infinite."""
MAX_TEXT_LENGTH = 1_000
MAX_CLASS_LENGTH = 200
MAX_SEGMENT_LENGTH = 200
TOO_MANY = Window(0, b"")
_PREDICTION = "prediction"
_UNUSABLE = object()
"""Stands for a text that cannot be kept: it counts as of the wrong type."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Layout:
    """How rows of a version are added up: each feature with its centre, or None for a text."""

    features: Mapping[str, float | None]
    prediction_centre: float | None
    task: str
    positive_class: str | None
    segment_features: tuple[str, ...]
    missing: tuple[str, ...]
    """Numbers of which nobody has chosen a centre yet."""
    measured: frozenset[str] = frozenset()
    """Those of the features that are made of an image or an embedding: a summary may lack them."""

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Layout":
        """Read what the server answers; raises KeyError or TypeError for what is none.

        What is measured of images and embeddings are numbers as others; older servers do not say it.
        """
        measured = {one["name"]: one["centre"] for one in document.get("measured", ())}
        fixed = {name: centre for name, centre in measured.items() if centre is not None}
        return cls(
            features={one["name"]: one["centre"] for one in document["features"]} | fixed,
            prediction_centre=document["prediction_centre"],
            task=document["task"],
            positive_class=document["positive_class"],
            segment_features=tuple(document["segment_features"]),
            missing=(*document["missing"], *(name for name in measured if name not in fixed)),
            measured=frozenset(fixed),
        )

    def within(self, features: Container[str]) -> "Layout":
        """Leave out what is measured and not among some features."""
        left_out = {name for name in self.measured if name not in features}
        kept = {name: centre for name, centre in self.features.items() if name not in left_out}
        return replace(self, features=kept, measured=self.measured - left_out)

    @property
    def centres(self) -> dict[str, float]:
        known = {name: centre for name, centre in self.features.items() if centre is not None}
        return known if self.prediction_centre is None else known | {_PREDICTION: self.prediction_centre}


def choose_centres(rows: Sequence[Row], names: Iterable[str]) -> dict[str, float]:
    """Choose the median of each number, and 0 for one without values."""
    centres = {}
    for name in names:
        given = (row[_PREDICTION] if name == _PREDICTION else row["features"].get(name) for row in rows)
        numbers = [float(value) for value in given if isinstance(value, int | float)]
        centres[name] = median(numbers) if numbers else 0.0
    return centres


def is_countable(row: Row, layout: Layout) -> bool:
    """Return whether the log would take a row's prediction."""
    prediction = row[_PREDICTION]
    if layout.task == "regression":
        return isinstance(prediction, int | float) and abs(prediction) <= MAX_REACH
    return isinstance(prediction, str) and bool(prediction) and _is_plain(prediction, MAX_CLASS_LENGTH)


def add_rows(windows: Mapping[str, Window], rows: Sequence[Row], layout: Layout) -> dict[str, Window]:
    """Add rows of an hour to its windows, those of all rows and of each value of the features that make segments.

    What is measured is left out where the hour's windows began without it, before the agent or the server was upgraded.
    """
    if WHOLE in windows:
        layout = layout.within(WindowSummary.decode(windows[WHOLE].summary).features)
    added = {WHOLE: _summarise(rows, layout).encode()}
    sizes = {WHOLE: len(rows)}
    for name in layout.segment_features:
        for value, some in _rows_by_value(rows, name).items():
            segment = f"{name}:{value}"
            added[segment], sizes[segment] = _summarise(some, layout).encode(), len(some)
    merged = dict(windows) | {
        segment: _merge(windows.get(segment), Window(sizes[segment], summary))
        for segment, summary in added.items()
    }
    return _within_limits(merged, layout.segment_features)


def _merge(window: Window | None, added: Window) -> Window:
    if window is None:
        return added
    whole = merge_windows([WindowSummary.decode(window.summary), WindowSummary.decode(added.summary)])
    return Window(window.rows + added.rows, whole.encode())


def _within_limits(windows: dict[str, Window], features: Iterable[str]) -> dict[str, Window]:
    """Leave out the segments of a feature that has too many values in the hour, for the rest of it too."""
    for name in features:
        own = [segment for segment in windows if segment.startswith(f"{name}:")]
        if len(own) > MAX_VALUES or f"{name}:" in windows:
            windows = {segment: window for segment, window in windows.items() if segment not in own}
            windows[f"{name}:"] = TOO_MANY
    return windows


def _rows_by_value(rows: Sequence[Row], feature: str) -> dict[str, list[Row]]:
    by_value: dict[str, list[Row]] = {}
    for row in rows:
        value = _written(row["features"].get(feature))
        if value and len(feature) + len(value) < MAX_SEGMENT_LENGTH and _is_plain(value, MAX_SEGMENT_LENGTH):
            by_value.setdefault(value, []).append(row)
    return by_value


def _summarise(rows: Sequence[Row], layout: Layout) -> WindowSummary:
    return summarise_window(
        rows=len(rows),
        features={name: _column(rows, name, centre) for name, centre in layout.features.items()},
        centres=layout.centres,
        prediction=_predictions(rows, layout),
        score=_scores(rows, layout),
        latency_ms=np.array([row["latency_ms"] for row in rows], np.float64),
    )


def _column(rows: Sequence[Row], name: str, centre: float | None) -> Array:
    """Return what is counted of a feature: numbers, or texts where a version of the model made it one."""
    given = [row["features"].get(name) for row in rows]
    if centre is None:
        return _objects([_text(value) for value in given])
    if any(isinstance(value, str) for value in given):
        return _objects(given)
    numbers = np.array([math.nan if value is None else value for value in given], np.float64)
    return np.where(np.abs(numbers - centre) > MAX_REACH, np.copysign(np.inf, numbers), numbers)


def _text(value: Any) -> Any:
    if value is None:
        return None
    text = value if isinstance(value, str) else str(float(value))
    return text if _is_plain(text, MAX_TEXT_LENGTH) else _UNUSABLE


def _written(value: Any) -> str:
    """Write a value as the names of segments have it: a whole number without decimals, nothing where there is none."""
    if value is None:
        return ""
    return str(int(value) if isinstance(value, bool | float) and float(value).is_integer() else value)


def _predictions(rows: Sequence[Row], layout: Layout) -> Array:
    given = [row[_PREDICTION] for row in rows]
    return np.array(given, np.float64) if layout.task == "regression" else _objects(given)


def _scores(rows: Sequence[Row], layout: Layout) -> Array | None:
    """Return the probability of the positive class, or of several that of the answered one; None without any."""
    if layout.task == "regression" or "probabilities" not in rows[0]:
        return None
    named = layout.positive_class
    return np.array(
        [row["probabilities"].get(row[_PREDICTION] if named is None else named, math.nan) for row in rows],
        np.float64,
    )


def _objects(values: Sequence[Any]) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _is_plain(text: str, length: int) -> bool:
    return len(text) <= length and "\0" not in text
