"""A disk that fills refuses what it cannot keep, and everything goes on when there is room again."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.installation.clients import Asking, AskingWithKey, Logging
from tests.flows.installation.conftest import Tell
from tests.flows.installation.ledger import assert_ledger_holds, everybody
from tests.flows.installation.running import Installation, make_model
from tests.ports import free_port
from tests.small_disk import mounted_disk
from tests.waiting import wait_until

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

DISK = "700m"
FULL_SECONDS = 20.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted_disk(tmp_path, DISK) as disk:
        yield disk


def fill(path: Path) -> None:
    """Write until there is no room."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))


def test_loses_nothing_and_goes_on_when_there_is_room(small_disk: Path, tell: Tell) -> None:
    installation = Installation(small_disk / "home", free_port())
    installation.start()
    try:
        model_id = make_model(installation, "filled")
        with everybody(installation, "filled") as load:
            load.await_more(20)
            ballast = small_disk / "ballast"
            with pytest.raises(OSError, match="No space"):
                fill(ballast)
            ends_at = time.monotonic() + FULL_SECONDS
            wait_until(lambda: time.monotonic() > ends_at, what="the time without room")
            logged = len(load.ledger(Logging).acknowledged)

            ballast.unlink()
            began = time.monotonic()
            wait_until(lambda: len(load.ledger(Logging).acknowledged) > logged, what="the next logged row")
            resumed_s = time.monotonic() - began
            load.await_more(20)
        counts = assert_ledger_holds(installation, model_id, load)
        inference, logging = load.ledger(Asking, AskingWithKey), load.ledger(Logging)
        tell(
            f"disk full for {FULL_SECONDS:.0f} s: logged again {resumed_s:.1f} s after there was room; {counts}"
        )
        tell(
            f"  answers other than 200: inference {dict(inference.refused)}, logging API {dict(logging.refused)}; "
            f"{installation.check_invariants()}"
        )
        assert set(inference.refused) | set(logging.refused) <= {503}
    finally:
        installation.end()
