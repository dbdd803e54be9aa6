"""What Evidently and NannyML flag of the same windows, both with their defaults.

An incident of theirs begins at a window that they flag after one that they did not. Evidently's own column tests speak
for it in two ways: a data set has drifted where half of its columns have, its default, or where any has. NannyML flags
a window by the Jensen-Shannon distance of any column, or by the ROC AUC of its labels.

How loud each of them is in each window is kept as well, 1 being its own limit, so that its limit can be set anew.
"""

import atexit
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from driftline.base.periods import floor, following
from tests.performance.detection.contenders import Evidently
from tests.performance.detection.worlds import Window
from tests.performance.nannyml_rival import Rival, nannyml_rival
from tests.performance.volumes.worlds import Traffic, TrafficDay

MAX_ROWS = 5_000
"""Of a day for both, and of the reference for Evidently: all of them would take hours."""
DRIFTED_SHARE = 0.5
PERIODS = {"hour": "h", "day": "D", "week": "W", "month": "M"}


def rival_incidents(
    traffic: Traffic, reference: Sequence[TrafficDay], days: int, start: datetime, span: str
) -> dict[str, dict[str, Any]]:
    """Return of each rival when its incidents begin, in days since the first day, and the share of flagged windows.

    An incident begins at the end of its window. `windows` are the ends and the loudness of all windows.
    """
    usual, known = traffic.usual(reference), _table(reference, start)
    rows = _table([_thin(traffic.day(number, usual)) for number in range(days)], start)
    windows = _windows(rows, span, start + timedelta(days=days))
    ends = [(following(begin, span) - start) / timedelta(days=1) for begin in windows]
    columns = _loudness_of_columns(
        known[[*traffic.names]], [part[[*traffic.names]] for part in windows.values()]
    )
    shares = [np.mean([value >= 1 for value in values]) for values in columns]
    loudest = [max(values) for values in columns]
    nannyml_flags, nannyml = _nannyml_windows(known, windows, span, traffic.names)
    found = {
        "Evidently": ([share >= DRIFTED_SHARE for share in shares], loudest),
        "Evidently, any column": ([share > 0 for share in shares], loudest),
        "NannyML": (nannyml_flags, nannyml),
    }
    return {
        name: {
            "days": list(_beginnings(flagged, ends)),
            "flagged": float(np.mean(flagged)),
            "windows": list(zip(ends, map(float, loudness), strict=True)),
        }
        for name, (flagged, loudness) in found.items()
    }


def _thin(day: TrafficDay) -> TrafficDay:
    return day.take(np.linspace(0, len(day) - 1, MAX_ROWS).astype(int)) if len(day) > MAX_ROWS else day


def _table(days: Sequence[TrafficDay], start: datetime) -> pd.DataFrame:
    days = [day for day in days if len(day)]
    columns = {name: np.concatenate([day.features[name] for day in days]) for name in days[0].features}
    seconds = np.concatenate([day.number * 86_400 + day.seconds for day in days])
    labels = np.concatenate([np.where(day.labels_come, day.labels, np.nan) for day in days])
    score = np.concatenate([day.score for day in days])
    times = pd.Timestamp(start) + pd.to_timedelta(seconds, unit="s")
    return pd.DataFrame(
        {**columns, "score": score, "answer": (score >= 0.5).astype(int), "label": labels, "time": times}
    )


def _windows(rows: pd.DataFrame, span: str, until: datetime) -> dict[datetime, pd.DataFrame]:
    """Cut rows into the whole windows that have some, by their start."""
    starts = rows["time"].map(lambda time: floor(time.to_pydatetime(), span))
    return {begin: part for begin, part in rows.groupby(starts) if following(begin, span) <= until}


def _loudness_of_columns(known: pd.DataFrame, windows: Sequence[pd.DataFrame]) -> list[list[float]]:
    if len(known) > MAX_ROWS:
        known = known.sample(MAX_ROWS, random_state=0)
    evidently = Evidently(Window(_columns(known)), 0, 0)
    return [list(evidently.measure(_columns(part)).values()) for part in windows]  # type: ignore[arg-type]


def _columns(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    return {str(name): rows[name].to_numpy() for name in rows}


# -- NannyML -----------------------------------------------------------------------------------------------------------
def _nannyml_windows(
    known: pd.DataFrame, windows: Mapping[datetime, pd.DataFrame], span: str, names: Sequence[str]
) -> tuple[list[bool], list[float]]:
    """Return which windows it flags, and how loud it is in each: the worst distance, in those of its limit."""
    chunks = {"timestamp_column_name": "time", "chunk_period": PERIODS[span]}
    known, rows = _without_zone(known), _without_zone(pd.concat(windows.values()).sort_values("time"))
    drift = _nannyml().fit("UnivariateDriftCalculator", known, column_names=list(names), **chunks)
    auc = _nannyml().fit(
        "PerformanceCalculator", known, metrics=["roc_auc"], y_pred_proba="score", y_pred="answer", y_true="label",
        problem_type="classification_binary", **chunks,
    )  # fmt: skip
    flagged: set[datetime] = set()
    loudness: dict[datetime, float] = {}
    for fitted in (drift, auc):
        said = fitted.measure(rows)
        alerts = (
            said[[name for name in said if str(name).endswith("alert")]]
            .fillna(False)
            .astype(bool)
            .any(axis=1)
        )
        starts = pd.to_datetime(said["start_date"], unit="ms", utc=True)
        flagged |= set(starts[alerts])
        for start, value in zip(starts, _worst(said), strict=True):
            loudness[start] = max(value, loudness.get(start, 0.0))
    return [begin in flagged for begin in windows], [loudness.get(begin, 0.0) for begin in windows]


def _worst(said: pd.DataFrame) -> np.ndarray:
    """Return of each chunk the farthest value, in limits: of a distance from 0, of a ROC AUC from 1."""
    far = [np.zeros(len(said))]
    for name in (str(column).removesuffix(".value") for column in said if str(column).endswith(".value")):
        value = said[f"{name}.value"].to_numpy(float)
        if name == "roc_auc":
            value, limit = 1 - value, 1 - said[f"{name}.lower_threshold"].to_numpy(float)
        else:
            limit = said[f"{name}.upper_threshold"].to_numpy(float)
        far.append(np.nan_to_num(value / np.maximum(limit, 1e-9)))
    return np.max(far, axis=0)


def _without_zone(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(time=rows["time"].dt.tz_localize(None))


@cache
def _nannyml() -> Rival:
    """Start NannyML once in this process; it ends with it."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(nannyml_rival())


def _beginnings(flagged: Sequence[bool], ends: Sequence[float]) -> Iterator[float]:
    for before, now, end in zip([False, *flagged[:-1]], flagged, ends, strict=True):
        if now and not before:
            yield end
