"""What Evidently and NannyML flag of the same windows, both with their defaults.

An incident of theirs begins at a window that they flag after one that they did not. Evidently's own column tests speak
for it in two ways: a data set has drifted where half of its columns have, its default, or where any has. NannyML flags
a window by the Jensen-Shannon distance of any column, or by the ROC AUC of its labels.
"""

import atexit
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from driftline.common.periods import floor, following
from tests.performance.detection.contenders import Evidently
from tests.performance.detection.worlds import Window
from tests.performance.nannyml_rival import Rival, nannyml_rival
from tests.performance.volumes.worlds import FEATURES, Traffic, TrafficDay

MAX_ROWS = 5_000
"""Of a day for both, and of the reference for Evidently: all of them would take hours."""
DRIFTED_SHARE = 0.5
PERIODS = {"hour": "h", "day": "D", "week": "W", "month": "M"}


def rival_incidents(
    traffic: Traffic, reference: Sequence[TrafficDay], days: int, start: datetime, span: str
) -> dict[str, dict[str, Any]]:
    """Return of each rival when its incidents begin, in days since the first day, and the share of flagged windows.

    An incident begins at the end of its window.
    """
    usual, known = traffic.usual(reference), _table(reference, start)
    rows = _table([_thin(traffic.day(number, usual)) for number in range(days)], start)
    windows = _windows(rows, span, start + timedelta(days=days))
    ends = [(following(begin, span) - start) / timedelta(days=1) for begin in windows]
    shares = _drifted_shares(known, list(windows.values()))
    flags = {
        "Evidently": [share >= DRIFTED_SHARE for share in shares],
        "Evidently, any column": [share > 0 for share in shares],
        "NannyML": _nannyml_flags(known, windows, span),
    }
    return {
        name: {"days": list(_beginnings(flagged, ends)), "flagged": float(np.mean(flagged))}
        for name, flagged in flags.items()
    }


def _thin(day: TrafficDay) -> TrafficDay:
    return day.take(np.linspace(0, len(day) - 1, MAX_ROWS).astype(int)) if len(day) > MAX_ROWS else day


def _table(days: Sequence[TrafficDay], start: datetime) -> pd.DataFrame:
    days = [day for day in days if len(day)]
    columns = {name: np.concatenate([day.features[name] for day in days]) for name in FEATURES}
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


def _drifted_shares(known: pd.DataFrame, windows: Sequence[pd.DataFrame]) -> list[float]:
    if len(known) > MAX_ROWS:
        known = known.sample(MAX_ROWS, random_state=0)
    evidently = Evidently(Window(_columns(known)), 0, 0)
    loudness = [list(evidently.measure(_columns(part)).values()) for part in windows]
    return [float(np.mean([value >= 1 for value in values])) for values in loudness]  # type: ignore[operator]


def _columns(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    return {name: rows[name].to_numpy() for name in FEATURES}


# -- NannyML -----------------------------------------------------------------------------------------------------------
def _nannyml_flags(known: pd.DataFrame, windows: Mapping[datetime, pd.DataFrame], span: str) -> list[bool]:
    chunks = {"timestamp_column_name": "time", "chunk_period": PERIODS[span]}
    known, rows = _without_zone(known), _without_zone(pd.concat(windows.values()).sort_values("time"))
    drift = _nannyml().fit("UnivariateDriftCalculator", known, column_names=list(FEATURES), **chunks)
    auc = _nannyml().fit(
        "PerformanceCalculator", known, metrics=["roc_auc"], y_pred_proba="score", y_pred="answer", y_true="label",
        problem_type="classification_binary", **chunks,
    )  # fmt: skip
    flagged: set[datetime] = set()
    for fitted in (drift, auc):
        said = fitted.measure(rows)
        alerts = (
            said[[name for name in said if str(name).endswith("alert")]]
            .fillna(False)
            .astype(bool)
            .any(axis=1)
        )
        flagged |= set(pd.to_datetime(said["start_date"], unit="ms", utc=True)[alerts])
    return [begin in flagged for begin in windows]


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
