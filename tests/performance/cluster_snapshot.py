"""A model with a champion, and a run of it with a snapshot of generated rows, stored as the step `snapshot` would."""

import hashlib
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings
from django.db.models.functions import Now

import driftline.celery  # noqa: F401  tasks go to the installation's broker
from driftline.base.accounts.models import Project
from driftline.base.periods import rfc3339
from inference.registry.lineage import Lineage
from inference.registry.models import Dataset, Model
from inference.registry.services import create_model
from inference.registry.versions import upload_version
from inference.signatures import Feature
from monitors.workflows import services
from monitors.workflows.models import Step
from monitors.workflows.starting import starts
from monitors.workflows.starting.snapshots import HOLDOUT, TRAIN
from monitors.workflows.trainers.job import TrainingJob
from monitors.workflows.trainers.launch import run_trainer

NUMBERS = [f"number_{place:02}" for place in range(18)]
TEXTS = {"carrier": 8, "region": 5}
FEATURES = [Feature(name, "float") for name in NUMBERS] + [Feature(name, "string") for name in TEXTS]
CLASSES = ["late", "on_time"]
BATCH_ROWS = 1 << 20  # the row groups of a file that `store_table` writes
HOLDOUT_ROWS = 50_000
START, END = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwRk5Q2gZ1x7s="


def start_run(rows: int, url: str) -> int:
    """Start a run for a pipeline at `url` that learns from so many rows; it is at its step `train`."""
    model = _model()
    services.configure_workflow(
        model=model,
        actor="bench",
        trainer="remote",
        remote={"kind": "http", "url": url},
        remote_secret=SECRET,
    )
    run = starts.start_run(model=model, trigger="bench", actor="bench", data_until=END)
    dataset = _store(model, rows)
    done = {"state": Step.State.DONE, "finished_at": Now()}
    evidence = {
        "dataset": dataset.pk,
        "sha256": dataset.sha256,
        "rows": dataset.rows,
        "training_rows": rows,
        "holdout_rows": HOLDOUT_ROWS,
        "start": rfc3339(START),
        "end": rfc3339(END),
    }
    run.steps.filter(name="snapshot").update(**done, evidence=evidence)
    run.steps.filter(name__in=["check_labels", "check_data"]).update(**done)
    return run.pk


def _model() -> Model:
    """Make a model with a champion that learnt an older truth."""
    model = create_model(
        project=Project.objects.create(slug="airport", name="Airport"),
        name="flight-delay",
        task="binary",
        actor="bench",
        autonomy="auto",
        objectives={"label_lag_hours": 0},
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        table = _features(np.random.default_rng(1), 20_000, turn=1.0)
        table = table.append_column("time", pa.array([END] * 20_000, pa.timestamp("us", "UTC")))
        pq.write_table(table, folder / "data.parquet")
        job = TrainingJob(
            data=str(folder / "data.parquet"),
            features=FEATURES,
            task="binary",
            classes=CLASSES,
            positive_class="late",
            folds=2,
        )
        trained = run_trainer("sklearn_logistic_regression", job, folder / "work", 600)
        with trained.model_path.open("rb") as stream:
            upload_version(
                model=model,
                stream=stream,
                metadata=msgspec.json.encode(trained.metadata),
                lineage=Lineage(),
                actor="bench",
            )
    return Model.objects.get(pk=model.pk)


def _features(rng: np.random.Generator, rows: int, turn: float) -> pa.Table:
    """Draw rows that are late by all their numbers and their carrier; `turn` is the sign of the first number."""
    numbers = {name: np.round(rng.normal(0, 1, rows), 2) for name in NUMBERS}
    numbers[NUMBERS[-1]][rng.random(rows) < 0.05] = np.nan
    codes = {name: rng.integers(0, count, rows) for name, count in TEXTS.items()}
    score = turn * numbers[NUMBERS[0]] + 0.1 * sum(numbers[name] for name in NUMBERS[1:-1])
    score = score + 0.2 * (codes["carrier"] - 4)
    label = np.where(rng.random(rows) < 1 / (1 + np.exp(-score)), "late", "on_time")
    texts = {
        name: pa.array([f"{name}-{code}" for code in range(TEXTS[name])]).take(pa.array(found))
        for name, found in codes.items()
    }
    columns = {name: pa.array(values, from_pandas=True) for name, values in numbers.items()}
    return pa.table({**columns, **texts, "label": pa.array(label, pa.string())})


def _batches(model: Model, rows: int) -> Iterator[pa.Table]:
    """Draw the rows of a snapshot in the order of their times; the newest are held out."""
    version = model.deployment.champion_id
    for start in range(0, rows + HOLDOUT_ROWS, BATCH_ROWS):
        rng = np.random.default_rng([2, start])
        places = np.arange(start, min(start + BATCH_ROWS, rows + HOLDOUT_ROWS))
        table, count = _features(rng, len(places), turn=-1.0), len(places)
        times = np.datetime64(START.replace(tzinfo=None), "us") + places * np.timedelta64(1, "ms")
        said = rng.random(count)
        yield (
            table.append_column(
                "timestamp", pa.array(times, pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
            )
            .append_column("version_id", pa.array(np.full(count, version), pa.int64()))
            .append_column("prediction", pa.array(np.where(said > 0.5, "late", "on_time"), pa.string()))
            .append_column("score", pa.array(said))
            .append_column("split", pa.array(np.where(places < rows, TRAIN, HOLDOUT), pa.string()))
        )


def _store(model: Model, rows: int) -> Dataset:
    """Write the rows where `store_table` would, a batch at a time."""
    folder = Path(settings.HOME) / "datasets"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    batches, draft = _batches(model, rows), folder / "draft"
    first = next(batches)
    with pq.ParquetWriter(draft, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for table in batches:
            writer.write_table(table)
    with draft.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    path = draft.rename(folder / f"{sha256}.parquet")
    return Dataset.objects.create(
        model=model,
        kind="snapshot",
        path=str(path.relative_to(settings.HOME)),
        sha256=sha256,
        rows=rows + HOLDOUT_ROWS,
        columns=first.column_names,
    )
