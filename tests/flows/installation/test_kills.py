"""`kill -9` of every process while clients go on: what was acknowledged is there, once."""

import os
import random
import time

import pytest

from tests.flows.installation.clients import Asking, AskingWithKey, Logging
from tests.flows.installation.conftest import Tell
from tests.flows.installation.ledger import assert_ledger_holds, everybody
from tests.flows.installation.running import (
    DATABASE,
    DRAIN,
    SERVER,
    SERVING,
    Installation,
    make_model,
)
from tests.waiting import wait_until

pytestmark = [pytest.mark.installation, pytest.mark.e2e, pytest.mark.chaos]

KILLS = [SERVING, DRAIN, SERVING, DATABASE, SERVER, DRAIN, SERVING, DATABASE]
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
