"""`kill -9` of the Celery worker in the middle of a retrain run: it goes on, and what it does is done once."""

import os
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from driftline.base.periods import rfc3339
from driftline.demo.api_client import Api
from tests.flows.installation.clients import infer_body
from tests.flows.installation.conftest import Tell
from tests.flows.installation.running import FEATURES, TASKS, Installation, make_model
from tests.waiting import wait_until

pytestmark = [pytest.mark.installation, pytest.mark.e2e, pytest.mark.chaos]

MODEL = "healed"
PATH = f"/api/v1/models/{MODEL}"
DAY = timedelta(days=1)
ROWS = 200
FIRST_DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 12 * DAY
LAST_DAY = 10
ENDED = ("promoted", "rejected", "failed", "cancelled")
WORKFLOW = {
    "trainer": "sklearn_logistic_regression",
    "min_training_rows": 300,
    "pairs": 2 * ROWS,
    "max_pairs": 4 * ROWS,
    "rollout": {"steps": []},
    "gate": {"p99_ratio": 50.0},  # latencies of a machine that is busy with killing are no evidence
}
RULE = {
    "model": MODEL,
    "name": "Answers no better than a coin",
    "metric": "accuracy",
    "span": "day",
    "operator": "below",
    "threshold": 0.7,
    "min_rows": 100,
    "cooldown": 30 * 86_400,
    "notify_within": 30 * 86_400,
    "action": "retrain",
}


def day_of(number: int) -> tuple[list[list[float]], list[str], list[str]]:
    """One day's rows, what turned out to be true of them, and when they happened; the truth is in f0."""
    rng = np.random.default_rng([7, number + 1])
    rows = rng.normal(0, 1, (ROWS, len(FEATURES))).round(4)
    truth = np.where(rows[:, 0] + rng.normal(0, 0.3, ROWS) > 0, "1", "0")
    times = [rfc3339(FIRST_DAY + (number + place / ROWS) * DAY) for place in range(ROWS)]
    return rows.tolist(), truth.tolist(), times


def send_day(api: Api, number: int) -> None:
    """Send one day's requests in one call, then their labels."""
    rows, truth, times = day_of(number)
    body = infer_body(
        *rows, driftline_id=f"day-{number}", driftline_timestamp=msgspec.json.encode(times).decode()
    )
    api.call("POST", f"/v2/models/{MODEL}/infer", body, {"Content-Type": "application/json"})
    labels = [
        {"id": f"day-{number}:{place}", "label": label, "timestamp": moment}
        for place, (label, moment) in enumerate(zip(truth, times, strict=True))
    ]
    assert api.post(f"{PATH}/labels", {"labels": labels})["accepted"] == ROWS


def reference() -> bytes:
    lines = [",".join([*FEATURES, "label", "prediction", "probability", "timestamp"])]
    for row, label, moment in zip(*day_of(-1), strict=True):
        lines.append(",".join([*map(str, row), label, "1", "0.8", moment]))
    return "\n".join(lines).encode()


def prepare(installation: Installation, api: Api) -> None:
    """A model whose champion answers the same to everything, its reference, and the rule that will notice."""
    make_model(installation, MODEL, autonomy="auto", objectives={"label_lag_hours": 0}, workflow=WORKFLOW)
    api.call("PUT", f"{PATH}/reference?version=1", reference(), {"Content-Type": "text/csv"})
    api.post("/api/v1/rules", RULE)


def runs(api: Api) -> list[dict[str, Any]]:
    return list(api.get(f"{PATH}/runs")["items"])


def trainers(installation: Installation) -> set[int]:
    """The trainers at work: they run in their run's folder and know nothing of the installation."""
    folder = f"{installation.home}/runs/"
    return {p.pid for p in installation.processes() if _folder_of(p.pid).startswith(folder)}


def _folder_of(pid: int) -> str:
    try:
        return os.readlink(Path(f"/proc/{pid}/cwd"))
    except OSError:
        return ""


def test_killing_the_worker_delays_a_run_and_doubles_nothing(installation: Installation, tell: Tell) -> None:
    with closing(installation.api()) as api:
        prepare(installation, api)
        for number in range(3):
            send_day(api, number)
        learning = wait_until(lambda: trainers(installation), seconds=120, what="the training")
        installation.kill_and_wait(TASKS)
        killed_at = time.monotonic()
        wait_until(lambda: not learning & trainers(installation), what="the end of the orphaned trainer")
        wait_until(lambda: runs(api)[0]["state"] in ("waiting", *ENDED), seconds=180, what="the shadowing")
        assert runs(api)[0]["state"] == "waiting", str(runs(api)[0])
        recovered_s = time.monotonic() - killed_at

        for number in range(3, LAST_DAY):
            send_day(api, number)
            if number == 3:
                installation.kill_and_wait(TASKS)
            wait_until(lambda: has_acted(api), seconds=180, what=f"the work of day {number}")
            if runs(api)[0]["state"] in ENDED:
                break

        found = runs(api)
        versions = [version["version"] for version in api.get(f"{PATH}/versions")["items"]]
        champion = api.get(PATH)["champion"]
    changes = installation.query(
        "SELECT kind, count(*) FROM inference_deploymentchange c JOIN inference_model m ON m.id = c.model_id "
        "WHERE m.name = %s AND c.actor = %s GROUP BY kind",
        [MODEL, f"run {found[0]['id']}"],
    )
    attempts = {step["name"]: step["attempts"] for step in found[0]["steps"]}
    tell(
        f"worker killed twice in a run started by {found[0]['trigger']!r}: going on {recovered_s:.0f} s after the "
        f"first; {len(found)} run, {found[0]['state']}; versions {sorted(versions)}, champion {champion}; "
        f"deployment changes by the run {dict(changes)}"
    )
    tell(f"  attempts {attempts}; {installation.check_invariants()}")
    assert len(found) == 1
    assert found[0]["state"] in ("promoted", "rejected"), str(found[0])
    assert sorted(versions) == ["1", "2"]
    assert attempts["train"] == 2
    assert champion == ("2" if found[0]["state"] == "promoted" else "1")
    assert dict(changes).get("promote", 0) == (found[0]["state"] == "promoted")


def has_acted(api: Api) -> bool:
    """Tell whether all that was sent is computed, judged and acted on, or the run has ended."""
    model = api.get(PATH)
    return model["computed_until"] == model["newest_event"] or runs(api)[0]["state"] in ENDED
