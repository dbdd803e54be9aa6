"""`kill -9` of every process while clients go on: what was acknowledged is there, once."""

import os
import random
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from driftline.common.periods import rfc3339
from driftline.demo.api_client import Api
from tests.flows.installation.clients import Asking, AskingWithKey, Logging
from tests.flows.installation.conftest import Tell
from tests.flows.installation.ledger import assert_ledger_holds, everybody
from tests.flows.installation.running import (
    DATABASE,
    DRAIN,
    FEATURES,
    SERVER,
    SERVING,
    TASKS,
    Installation,
    make_model,
)
from tests.waiting import wait_until

pytestmark = [pytest.mark.installation, pytest.mark.e2e, pytest.mark.chaos]

KILLS = [SERVING, DRAIN, SERVING, DATABASE, SERVER, DRAIN, SERVING, DATABASE]
IMPORTED = 400_000
OUTAGE_S = float(os.environ.get("DRIFTLINE_TEST_OUTAGE_SECONDS", "10"))


def test_killing_what_serves_drains_or_stores_loses_and_doubles_nothing(
    installation: Installation, tell: Tell
) -> None:
    model_id = make_model(installation, "killed")
    started = time.monotonic()

    with everybody(installation, "killed") as load:
        for victim in KILLS:
            load.await_more(random.randint(20, 80))
            installation.kill_and_wait(victim)
        load.await_more(40)

    seconds = time.monotonic() - started
    counts = assert_ledger_holds(installation, model_id, load)
    inference, logged = load.ledger(Asking, AskingWithKey), load.ledger(Logging)
    tell(f"{len(KILLS)} kills in {seconds:.0f} s: {counts}")
    tell(
        f"  answers other than 200: inference {dict(inference.refused)}, logging API {dict(logged.refused)}; "
        f"slowest answers {inference.slowest_s:.1f} and {logged.slowest_s:.1f} s; "
        f"{installation.check_invariants()}"
    )
    assert not inference.refused
    assert set(logged.refused) <= {503}


def test_killing_workers_and_database_in_an_import_imports_each_row_once(
    installation: Installation, tell: Tell
) -> None:
    model_id = make_model(installation, "imported")
    path, began = "/api/v1/models/imported/imports", time.monotonic()
    with closing(installation.api()) as api:
        taken = api.call(
            "POST", f"{path}/predictions?version=1", file_of_rows(), {"Content-Type": "text/csv"}
        )

        seen = []
        for victim in (TASKS, DATABASE, TASKS):
            seen.append(wait_until(lambda: progress_beyond(api, path, taken["id"], max(seen, default=0.0))))
            installation.kill_and_wait(victim)
        done = wait_until(lambda: finished(api, path, taken["id"]), seconds=240, what="the import's end")

    counted = installation.query(
        "SELECT count(*), count(DISTINCT prediction_id) FROM inference_predictionrow WHERE model_id = %s",
        [model_id],
    )
    killed_at = ", ".join(f"{share:.0%}" for share in seen)
    tell(
        f"an import of {IMPORTED:,} rows, killed at {killed_at}: {done['state']} after "
        f"{time.monotonic() - began:.0f} s, accepted {done['accepted']:,}, duplicates {done['duplicates']:,}; stored "
        f"{counted[0][0]:,}; {installation.check_invariants()}"
    )
    assert (done["state"], done["rejected"]) == ("done", 0)
    assert counted == [(IMPORTED, IMPORTED)]


def file_of_rows() -> bytes:
    random_rows = np.random.default_rng(17).normal(size=(IMPORTED, len(FEATURES))).round(4).tolist()
    start = datetime.now(UTC) - timedelta(days=20)
    lines = [
        f"row-{place},{rfc3339(start + timedelta(seconds=4 * place))},1,0.8,{','.join(map(str, row))}"
        for place, row in enumerate(random_rows)
    ]
    return "\n".join([f"id,timestamp,prediction,probability,{','.join(FEATURES)}", *lines]).encode()


def progress_beyond(api: Api, path: str, number: int, before: float) -> float | None:
    found = api.get(f"{path}/{number}")
    assert found["state"] not in ("done", "failed"), "it ended before it was killed"
    return found["progress"] if found["progress"] > before else None


def finished(api: Api, path: str, number: int) -> Any:
    found = api.get(f"{path}/{number}")
    return found if found["state"] in ("done", "failed", "cancelled") else None


def test_inference_answers_all_along_while_the_database_is_away(
    installation: Installation, tell: Tell
) -> None:
    model_id = make_model(installation, "alone")
    with everybody(installation, "alone") as load:
        load.await_more(20)
        before = load.ledger(Asking, AskingWithKey)

        with installation.stalled("postgres"):
            outage_ends = time.monotonic() + OUTAGE_S
            wait_until(lambda: time.monotonic() > outage_ends, what="the outage")
            during = load.ledger(Asking, AskingWithKey)
        installation.kill_and_wait(DATABASE)
        load.await_more(20)

    told = load.ledger(Asking, AskingWithKey)
    began = time.monotonic()
    counts = assert_ledger_holds(installation, model_id, load)
    answered = len(during.acknowledged) - len(before.acknowledged)
    failed = told.unanswered + told.turned_away
    tell(
        f"database stalled {OUTAGE_S:.0f} s, then killed: {answered:,} inferences answered while it stood still, "
        f"{failed} failed, refused {dict(told.refused)}, log {dict(told.log_states)}, "
        f"slowest {told.slowest_s:.2f} s; logging API refused {dict(load.ledger(Logging).refused)}; "
        f"drained {time.monotonic() - began:.1f} s after the last request"
    )
    tell(f"  {counts}; {installation.check_invariants()}")
    assert failed == 0
    assert not told.refused
    assert set(told.log_states) == {"spooled"}
    assert answered > 500
