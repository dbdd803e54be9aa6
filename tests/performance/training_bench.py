"""What the training of a challenger does to metrics and messages: `python -m tests.performance.training_bench`.

A whole installation by its defaults. Rows of another model are logged one batch after the other, and a test e-mail is
sent with each: how long until the metrics have the rows, and until the message is delivered, first with nothing else
to do, then while a forest of 800 trees learns from 48,000 rows.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from driftline.base.periods import rfc3339
from driftline.demo.api_client import Api
from tests.flows.installation.running import FEATURES, Installation, make_model
from tests.ports import free_port
from tests.waiting import wait_until

TRAINED, WATCHED = "trained", "watched"
DAY = timedelta(days=1)
DAYS, ROWS_A_DAY, ROWS_A_BATCH, ROWS_A_PROBE = 12, 5_000, 2_500, 200
FOREST = {"trees": 800, "tree_rows": 60_000}
ALL_AT_ONCE: dict[str, Any] = {"steps": []}


@dataclass
class Waits:
    """Seconds from the end of a call until what it asked for was done."""

    metrics: list[float] = field(default_factory=list)
    messages: list[float] = field(default_factory=list)

    def describe(self) -> str:
        return "; ".join(
            f"{name} median {statistics.median(found):.2f} s, longest {max(found):.2f} s"
            for name, found in (("event to metric", self.metrics), ("message", self.messages))
        )


def labelled(number: int, day: datetime, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """One batch of predictions with their labels, spread over a day; the truth is in the first feature."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, 1, (ROWS_A_BATCH, len(FEATURES))).round(4)
    truth = np.where(rows[:, 0] + rng.normal(0, 0.5, len(rows)) > 0, "1", "0")
    predictions = [
        {
            "id": f"{number}-{place}", "timestamp": rfc3339(day + place / len(rows) * DAY), "version": "1",
            "features": dict(zip(FEATURES, row, strict=True)), "prediction": "1", "probabilities": 0.8,
        }
        for place, row in enumerate(rows.tolist())
    ]  # fmt: skip
    return predictions, [
        {"id": f"{number}-{place}", "label": label} for place, label in enumerate(truth.tolist())
    ]


def log_history(api: Api) -> None:
    """Log twelve days of labelled rows of the model that is to be trained."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for number in range(DAYS * ROWS_A_DAY // ROWS_A_BATCH):
        day = midnight - (DAYS - number * ROWS_A_BATCH // ROWS_A_DAY) * DAY
        predictions, labels = labelled(number, day, seed=number)
        api.post(f"/api/v1/models/{TRAINED}/predictions", {"predictions": predictions})
        for first in range(0, len(labels), 1_000):
            api.post(f"/api/v1/models/{TRAINED}/labels", {"labels": labels[first : first + 1_000]})


def probe(api: Api, waits: Waits, channel: int, number: int) -> None:
    """Log one batch and send one message, and wait for both."""
    at = datetime.now(UTC)
    rows = np.random.default_rng(number).normal(0, 1, (ROWS_A_PROBE, len(FEATURES))).round(4).tolist()
    items = [
        {
            "id": f"p{number}-{place}", "timestamp": rfc3339(at), "version": "1",
            "features": dict(zip(FEATURES, row, strict=True)), "prediction": "1", "probabilities": 0.8,
        }
        for place, row in enumerate(rows)
    ]  # fmt: skip
    path = f"/api/v1/models/{WATCHED}"
    api.post(f"{path}/predictions", {"predictions": items})
    began = time.monotonic()
    delivery = api.post(f"/api/v1/channels/{channel}/test", {})["id"]
    open_questions: dict[str, tuple[Callable[[], bool], list[float]]] = {
        "metrics": (lambda: _has_computed(api.get(path)), waits.metrics),
        "message": (lambda: _is_sent(api, delivery), waits.messages),
    }
    while open_questions:
        for name, (is_done, found) in list(open_questions.items()):
            if is_done():
                found.append(time.monotonic() - began)
                del open_questions[name]
        time.sleep(0.02)


def _has_computed(model: dict[str, Any]) -> bool:
    return bool(model["computed_until"]) and model["computed_until"] == model["newest_event"]


def _is_sent(api: Api, delivery: int) -> bool:
    return any(
        one["id"] == delivery and one["state"] == "sent" for one in api.get("/api/v1/deliveries")["items"]
    )


def training_state(api: Api) -> str:
    [run] = api.get(f"/api/v1/models/{TRAINED}/runs")["items"]
    return next(str(step["state"]) for step in run["steps"] if step["name"] == "train")


def probes_while(is_on: Callable[[], bool], numbers: Iterator[int], api: Api, channel: int) -> Waits:
    waits = Waits()
    while is_on():
        probe(api, waits, channel, next(numbers))
    return waits


def measure(installation: Installation, seconds: float) -> dict[str, Waits]:
    workflow = {"trainer": "sklearn_random_forest", "parameters": FOREST, "rollout": ALL_AT_ONCE}
    make_model(installation, TRAINED, objectives={"label_lag_hours": 0}, workflow=workflow)
    make_model(installation, WATCHED)
    numbers = iter(range(1_000_000))
    with closing(installation.api()) as api:
        channel = api.post("/api/v1/channels", {"name": "me", "kind": "email", "target": "me@example.com"})[
            "id"
        ]
        log_history(api)
        wait_until(
            lambda: _has_computed(api.get(f"/api/v1/models/{TRAINED}")), seconds=600, what="the history"
        )
        probe(api, Waits(), channel, next(numbers))
        until = time.monotonic() + seconds
        found = {"quiet": probes_while(lambda: time.monotonic() < until, numbers, api, channel)}
        api.post(f"/api/v1/models/{TRAINED}/runs", {})
        wait_until(lambda: training_state(api) == "running", seconds=300, what="the training")
        began = time.monotonic()
        found["training"] = probes_while(lambda: training_state(api) == "running", numbers, api, channel)
        print(f"the training took {time.monotonic() - began:.0f} s and is {training_state(api)}", flush=True)
    for name, waits in found.items():
        print(f"{name:9} {len(waits.metrics):4} batches: {waits.describe()}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--seconds", type=float, default=30.0, help="of probes with nothing else to do")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        installation = Installation(Path(folder) / "home", free_port())
        try:
            installation.start()
            found = measure(installation, options.seconds)
        finally:
            installation.end()
    if options.json:
        numbers = {name: vars(waits) for name, waits in found.items()}
        options.json.write_text(json.dumps({"training": numbers}, indent=2))


if __name__ == "__main__":
    main()
