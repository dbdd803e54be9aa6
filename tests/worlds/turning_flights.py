"""A small world whose truth turns around: a real champion learnt the old truth, and real models answer each row."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from driftline.base.clock import now
from inference.prediction_log.ingest.store import store_records
from inference.prediction_log.items import LabelItem
from inference.prediction_log.labels.services import log_labels
from inference.prediction_log.spool.record import FeatureColumn, LoggedBatch
from inference.registry.models import Model, Version
from inference.runtime.session import OnnxSession
from inference.signatures import Feature
from monitors.workflows.trainers.job import MISSING_TOKEN

FEATURES = [Feature("wind", "float"), Feature("load", "float"), Feature("carrier", "string")]
CLASSES = ["late", "on_time"]
DAY = timedelta(days=1)
FIRST_DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 40 * DAY


def flights(day: datetime, *, rows: int, turned: bool, seed: int) -> pd.DataFrame:
    """Flights spread over one day: late in strong wind; once the truth has turned, late in weak wind."""
    rng = np.random.default_rng(seed)
    wind = rng.normal(0, 1, rows)
    chance = 1 / (1 + np.exp(3 * wind if turned else -3 * wind))
    return pd.DataFrame(
        {
            "wind": wind.astype(np.float32),
            "load": rng.normal(0, 1, rows).astype(np.float32),
            "carrier": rng.choice(["AA", "DL", None], rows, p=[0.5, 0.4, 0.1]),
            "label": np.where(rng.random(rows) < chance, "late", "on_time"),
            "time": [day + DAY * (i / rows) for i in range(rows)],
        }
    )


@dataclass
class World:
    """Sends days of traffic to a model and answers each row by the ONNX of the versions that would."""

    model: Model
    home: Path
    batches: int = 0
    answered: list[str] = field(default_factory=list)

    def send_day(
        self,
        number: int,
        *,
        rows: int = 300,
        turned: bool = True,
        labelled: float = 1.0,
        shadows: bool = True,
        source: str = "test",
        always: str | None = None,
        like: int | None = None,
        leaks: bool = False,
        flipped: float = 0.0,
        without_wind: float = 0.0,
    ) -> None:
        """Send day `number`, answered by the champion and copied to the shadows; a share gets its label.

        Token `source` sends the labels; with `always`, each of them is that class whatever the truth, and a share
        `flipped` of them is wrong. The rows are those of day `like`, where it is given; with `leaks` their load is
        heavy where they were late, and a share is `without_wind`.
        """
        day = FIRST_DAY + number * DAY
        table = flights(day, rows=rows, turned=turned, seed=number if like is None else like)
        chance = np.random.default_rng(10_000 + number)
        if leaks:
            late = table["label"].to_numpy() == "late"
            table["load"] = (np.where(late, 2, -2) + chance.normal(0, 0.5, rows)).astype(np.float32)
        table.loc[chance.random(rows) < without_wind, "wind"] = np.nan
        ids = [f"{self.model.pk}-{number}-{i}" for i in range(rows)]
        deployment = self.model.deployment
        deployment.refresh_from_db()
        assert deployment.champion is not None
        self._store(deployment.champion, "champion", ids, table)
        if shadows:
            for shadow in deployment.shadows.all():
                self._store(shadow, "shadow", ids, table)
        sent = table["label"] if always is None else pd.Series([always] * rows)
        sent = sent.where(chance.random(rows) >= flipped, sent.map({"late": "on_time", "on_time": "late"}))
        count = round(rows * labelled)
        self.label(ids[:count], sent[:count], table["time"], source=source)

    def label(self, ids: list[str], labels: pd.Series, times: pd.Series, *, source: str = "test") -> None:
        items = [
            LabelItem(id=id_, label=label, timestamp=time.to_pydatetime())
            for id_, label, time in zip(ids, labels, times, strict=False)
        ]
        if items:
            log_labels(model=self.model, items=items, source=source, now=now())

    def _store(self, version: Version, role: str, ids: list[str], table: pd.DataFrame) -> None:
        self.batches += 1
        session = OnnxSession((self.home / version.path).read_bytes())
        columns = {
            "wind": table["wind"].to_numpy(np.float32),
            "load": table["load"].to_numpy(np.float32),
            "carrier": table["carrier"].fillna(MISSING_TOKEN).to_numpy(object),
        }
        features = [feature["name"] for feature in version.signature["features"]]
        inputs = {name: columns[name].reshape(-1, 1) for name in features}
        if len(version.signature["inputs"]) == 1:
            inputs = {version.signature["inputs"][0]["name"]: np.hstack(list(inputs.values()))}
        labels, probabilities = session.run(inputs, ["label", "probabilities"])
        times = [round(time.timestamp() * 1e6) for time in table["time"]]
        batch = LoggedBatch(
            model_id=self.model.pk,
            version_id=version.pk,
            role=role,
            generation=1,
            ids=ids,
            client_ids=None,
            keyed=True,
            event_time_us=times,
            received_us=times[-1],
            latency_us=[1000] * len(ids),
            features=[
                FeatureColumn(name, "s", list(table[name]))
                if name == "carrier"
                else FeatureColumn(name, "f4", columns[name].tobytes())
                for name in features
            ],
            prediction=[str(label) for label in labels.reshape(-1)],
            probabilities=probabilities.astype(np.float32).tobytes(),
            subjects=None,
            tags=None,
        )
        store_records([batch], spool=f"test-{self.model.pk}", segment=0, offset=self.batches)
