"""Sets a model of the demonstration up through the public API, as anybody would: model, version, reference, rules.

Each step looks first whether it was done, so that a start that was cut short is simply made again.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from driftline.demo.api_client import Api, ApiRefused
from driftline.demo.inference_request import ModelInputs
from driftline.demo.receiver import Receiver
from monitors.workflows.trainers.job import TrainingJob
from monitors.workflows.trainers.launch import read_result, run_trainer
from monitors.workflows.trainers.report import REPORT_FILE, TrainingResult

TRAINER = "lightgbm"
TRAINING_TIMEOUT_S = 300.0

ROLLOUT = {
    "steps": [{"weight": weight, "seconds": 5, "rows": 50} for weight in (0.05, 0.25, 0.5)],
    "watch_seconds": 30,
    "check_seconds": 2,
}
"""The steps that a new model has, in seconds instead of hours: days of the demo pass as fast."""

DAY_S = 86_400
NOTIFY_WITHIN_S = 400 * DAY_S
"""History is months old when it is replayed, and its incidents are the point: people are still notified of them."""


@dataclass(frozen=True)
class DemoModel:
    """A binary model of the demonstration and how it is watched; `settings` are those of the API's model."""

    name: str
    description: str
    inputs: ModelInputs
    classes: Sequence[str]
    positive_class: str
    parameters: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"/api/v1/models/{self.name}"


def ensure_model(api: Api, model: DemoModel) -> None:
    if api.find(model.path) is None:
        body = {"name": model.name, "task": "binary", "description": model.description}
        api.post("/api/v1/models", body | model.settings)


def train(folder: Path, model: DemoModel, rows: pd.DataFrame, *, folds: int = 5) -> TrainingResult:
    """Train with the trainer that retrain runs use, on rows with the features, `label` and `time`; `folder` keeps
    the result."""
    if (folder / "work" / REPORT_FILE).exists():
        return read_result(folder / "work")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    snapshot = folder / "snapshot.parquet"
    rows[[*model.inputs.names, "label", "time"]].to_parquet(snapshot, index=False)
    job = TrainingJob(
        data=str(snapshot),
        features=model.inputs.features,
        task="binary",
        classes=list(model.classes),
        positive_class=model.positive_class,
        folds=folds,
        parameters=model.parameters,
    )
    return run_trainer(TRAINER, job, folder / "work", TRAINING_TIMEOUT_S)


def ensure_version(api: Api, model: DemoModel, trained: TrainingResult, version: str) -> None:
    """Upload the trained version; the first accepted one becomes champion."""
    if api.find(f"{model.path}/versions/{version}") is not None:
        return
    lineage = {
        "trainer": TRAINER,
        "parameters": model.parameters,
        "data": {"training_rows": trained.report.rows},
        "libraries": trained.report.libraries,
    }
    api.upload(
        f"{model.path}/versions",
        trained.model_path.read_bytes(),
        version=version.encode(),
        metadata=msgspec.json.encode(trained.metadata),
        lineage=msgspec.json.encode(lineage),
    )


def ensure_reference(api: Api, model: DemoModel, trained: TrainingResult, version: str) -> None:
    """Upload the training rows with predictions that are out of fold by day."""
    if api.find(f"{model.path}/reference?version={version}") is not None:
        return
    api.call(
        "PUT",
        f"{model.path}/reference?version={version}",
        trained.reference_path.read_bytes(),
        {"Content-Type": "application/vnd.apache.parquet"},
    )


def ensure_default_rules(api: Api, model: DemoModel, changes: dict[str, dict[str, Any]]) -> None:
    """Add the rules that any model gets at one press, and change some of them by name."""
    api.post("/api/v1/rules/defaults", {"model": model.name})
    for rule in api.get(f"/api/v1/rules?model={model.name}")["items"]:
        settings = {"notify_within": NOTIFY_WITHIN_S} | changes.get(rule["name"], {})
        if any(rule[name] != value for name, value in settings.items()):
            api.patch(f"/api/v1/rules/{rule['id']}", settings)


def ensure_rules(api: Api, model: DemoModel, rules: Sequence[dict[str, Any]]) -> None:
    there = {rule["name"] for rule in api.get(f"/api/v1/rules?model={model.name}")["items"]}
    for rule in rules:
        if rule["name"] not in there:
            api.post("/api/v1/rules", {"model": model.name, "notify_within": NOTIFY_WITHIN_S} | rule)


def ensure_channels(api: Api, receiver: Receiver) -> None:
    """Set up channels that report incidents by e-mail (files in mail/) and by a signed webhook to this machine."""
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
