"""Stopping the whole installation under load, going on with another `up`, and Ctrl-C."""

import signal

import pytest

from tests.flows.installation.conftest import Tell
from tests.flows.installation.ledger import assert_ledger_holds, everybody
from tests.flows.installation.running import Installation, make_model

pytestmark = [pytest.mark.installation, pytest.mark.e2e, pytest.mark.chaos]


def test_stopping_under_load_loses_nothing_and_the_next_start_goes_on(
    installation: Installation, tell: Tell
) -> None:
    model_id = make_model(installation, "stopped")

    with everybody(installation, "stopped") as load:
        load.await_more(40)
        code = installation.stop(signal.SIGTERM)
        left_by_term = installation.processes()
        starting_s = installation.start()
        load.await_more(40)

    counts = assert_ledger_holds(installation, model_id, load)
    holds = installation.check_invariants()
    ctrl_c = installation.stop(signal.SIGINT)
    left_by_ctrl_c = installation.processes()
    tell(f"SIGTERM under load, up again in {starting_s:.1f} s: {counts}; {holds}")
    tell(
        f"  exit codes {code} and {ctrl_c}; processes left {len(left_by_term)} after SIGTERM and "
        f"{len(left_by_ctrl_c)} after Ctrl-C"
    )
    assert (code, ctrl_c) == (0, 0)
    assert left_by_term == left_by_ctrl_c == []
