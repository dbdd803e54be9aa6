"""A real installation rolls a challenger out: one that fails loses its share, and kills leave exactly one weight."""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import Any

import msgspec
import numpy as np
import pytest

from driftline.base.periods import rfc3339
from driftline.demo.api_client import Api, ApiRefused
from tests.flows.installation.clients import infer_body
from tests.flows.installation.conftest import Tell
from tests.flows.installation.running import FEATURES, TASKS, Installation, make_model
from tests.inference.onnx_models import ranking_classifier
from tests.waiting import wait_until

pytestmark = [pytest.mark.installation, pytest.mark.e2e, pytest.mark.chaos]

ROWS = 300
DAY = timedelta(days=1)
FIRST_DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 12 * DAY
REQUESTS_A_SECOND = 20
KILLS = 20 if "DRIFTLINE_TEST_CHAOS_SECONDS" in os.environ else 4  # `make chaos` takes its time
FAILS_ABOVE = 0.8416
"""What a fifth of normal values exceed."""
ENDED = ("promoted", "rejected", "failed", "cancelled", "rolled_back")


class RolledOutModel:
    """One model on an installation, with a challenger of another pipeline that is rolled out."""

    def __init__(self, installation: Installation, api: Api, name: str, plan: dict[str, Any]) -> None:
        self.installation, self.api, self.name = installation, api, name
        self.path = f"/api/v1/models/{name}"
        workflow = {"pairs": 2 * ROWS, "max_pairs": 20 * ROWS, "rollout": plan, "gate": {"p99_ratio": 50.0}}
        self.key = make_model(
            installation, name, autonomy="auto", objectives={"label_lag_hours": 0}, workflow=workflow
        )

    def start(self, *, fails_above: float) -> None:
        """Bring the challenger along and send labelled days until it answers its first share."""
        metadata = {
            "features": [{"name": name, "type": "float"} for name in FEATURES],
            "outputs": {"prediction": "label", "probabilities": "probabilities"},
            "classes": ["0", "1"],
            "positive_class": "1",
        }
        self.send_day(0)
        model = ranking_classifier(FEATURES, fails_above=fails_above)
        self.api.upload(f"{self.path}/versions", model, metadata=msgspec.json.encode(metadata))
        self.api.post(f"{self.path}/runs", {"version": "2"})
        wait_until(lambda: self.api.get(f"{self.path}/deployment")["shadows"], what="the shadow")
        for number in range(1, 11):
            self.send_day(number)
            if number > 2 and self.has_begun(seconds=10):
                return
        wait_until(lambda: self.run["rollout"], what="the rollout")

    def has_begun(self, *, seconds: float) -> bool:
        try:
            return bool(wait_until(lambda: self.run["rollout"], seconds=seconds))
        except AssertionError:
            return False

    @property
    def run(self) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"{self.path}/runs?limit=1")["items"][0]
        return found

    def send_day(self, number: int) -> None:
        """Send a day's requests that no challenger fails on in one call, and what became of them."""
        rng = np.random.default_rng(number)
        rows = -np.abs(rng.normal(0, 1, (ROWS, len(FEATURES)))).round(4)
        rows[:, 0] *= rng.choice([-1, 1], ROWS)
        truth = np.where(rows[:, 0] + rng.normal(0, 0.3, ROWS) > 0, "1", "0").tolist()
        times = [rfc3339(FIRST_DAY + (number + place / ROWS) * DAY) for place in range(ROWS)]
        body = infer_body(
            *rows.tolist(),
            driftline_id=f"day-{number}",
            driftline_timestamp=msgspec.json.encode(times).decode(),
        )
        self.api.call("POST", f"/v2/models/{self.name}/infer", body, {"Content-Type": "application/json"})
        labels = [
            {"id": f"day-{number}:{place}", "label": label, "timestamp": moment}
            for place, (label, moment) in enumerate(zip(truth, times, strict=True))
        ]
        assert self.api.post(f"{self.path}/labels", {"labels": labels})["accepted"] == ROWS

    @contextmanager
    def traffic(self) -> Iterator[Counter[int]]:
        """Send 20 requests a second of one row each, a fifth of which the failing challenger fails on."""
        stop, answers = Event(), Counter[int]()
        thread = Thread(target=self._send, args=(stop, answers))
        thread.start()
        try:
            yield answers
        finally:
            stop.set()
            thread.join()

    def _send(self, stop: Event, answers: Counter[int]) -> None:
        rng, due = np.random.default_rng(7), time.monotonic()
        with closing(self.installation.api()) as api:
            while not stop.wait(max(due - time.monotonic(), 0)):
                due += 1 / REQUESTS_A_SECOND
                body = infer_body(rng.normal(0, 1, len(FEATURES)).round(4).tolist())
                try:
                    api.call(
                        "POST", f"/v2/models/{self.name}/infer", body, {"Content-Type": "application/json"}
                    )
                    answers[200] += 1
                except ApiRefused as refusal:
                    answers[refusal.status] += 1

    def outcomes(self) -> dict[tuple[str, str], int]:
        """Count requests by role and how they ended."""
        rows = self.installation.query(
            "SELECT role, outcome, sum(requests)::bigint FROM inference_requestcount WHERE model_id = %s GROUP BY 1, 2",
            [self.key],
        )
        return {(role, outcome): count for role, outcome, count in rows}


def test_a_challenger_that_fails_a_fifth_of_its_requests_is_back_at_no_share(
    installation: Installation, tell: Tell
) -> None:
    with closing(installation.api()) as api:
        plan = {"steps": [{"weight": 0.05, "seconds": 3_600}], "check_seconds": 5}
        rollout = RolledOutModel(installation, api, "failing", plan)
        rollout.start(fails_above=FAILS_ABOVE)
        began = time.monotonic()
        with rollout.traffic() as answers:
            wait_until(lambda: rollout.run["state"] in ENDED, seconds=60, what="the end of the rollout")
            seconds = time.monotonic() - began
            refused = sum(count for status, count in answers.items() if status != 200)
            answered = answers.copy()
            wait_until(lambda: answers.total() > answered.total() + 100, what="requests afterwards")
        deployment, run = api.get(f"{rollout.path}/deployment"), rollout.run
        later = sum(count for status, count in answers.items() if status != 200) - refused
        outcomes = wait_until(
            lambda: rollout.outcomes() if sum(rollout.outcomes().values()) >= answers.total() else None,
            what="the counts of all requests",
        )
    tell(
        f"failing challenger at weight 0 after {seconds:.0f} s and {answered.total()} requests: {run['state']}, "
        f"{refused} not answered until then and {later} of 100 after; outcomes {outcomes}"
    )
    assert run["state"] == "rolled_back"
    assert run["rollout"]["weight"] == 0.0
    assert (deployment["champion"], deployment["canary"], deployment["shadows"]) == ("1", None, [])
    assert later <= 1  # answered by a process that took the plan up a moment later
    assert not any(role == "champion" and outcome != "answered" for role, outcome in outcomes)


def test_killing_the_worker_again_and_again_leaves_one_champion_and_no_other_share(
    installation: Installation, tell: Tell
) -> None:
    steps = [{"weight": weight, "seconds": 5, "requests": 20} for weight in (0.1, 0.3, 0.5)]
    with closing(installation.api()) as api:
        plan = {"steps": steps, "watch_seconds": 20, "check_seconds": 2}
        rollout = RolledOutModel(installation, api, "rollout-killed", plan)
        rollout.start(fails_above=1e9)
        chance, kills = random.Random(7), 0
        with rollout.traffic() as answers:
            while kills < KILLS and rollout.run["state"] not in ENDED:
                time.sleep(chance.random())
                installation.kill_and_wait(TASKS)
                kills += 1
            try:
                wait_until(lambda: rollout.run["state"] in ENDED, seconds=900, what="the end of the run")
            except AssertionError as late:
                raise AssertionError(str(rollout.run["rollout"])) from late
        run, deployment = rollout.run, api.get(f"{rollout.path}/deployment")
    weights = [one["weight"] for one in run["rollout"]["history"]]
    changes = installation.query(
        "SELECT kind, count(*) FROM inference_deploymentchange WHERE model_id = %s GROUP BY kind ORDER BY kind",
        [rollout.key],
    )
    tell(
        f"worker killed {kills} times in a rollout: {run['state']}, weights {weights}, changes {dict(changes)}, "
        f"answers {dict(answers)}; {installation.check_invariants()}"
    )
    assert run["state"] == "promoted", run
    assert weights == [0.1, 0.3, 0.5, 1.0]
    assert (deployment["champion"], deployment["canary"], deployment["shadows"]) == ("2", None, [])
    assert set(answers) == {200}
