"""A disk that takes nothing stops no agent: it answers on, and goes on by itself once there is room."""

import errno
import math
import threading
from pathlib import Path

import pytest

from driftline_agent import versions
from driftline_agent.agent import Agent, Options
from driftline_agent.rows.sender import BATCH_ROWS
from tests.driftline_agent.device import PlayedDevice, enrol_in, times
from tests.waiting import wait_until


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_update_waits_for_room(device: PlayedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    device.server.offer(times(1), "1")
    device.updater.poll()
    device.server.offer(times(2), "2")
    with monkeypatch.context() as full:
        full.setattr(versions, "write_file", refuse)
        with pytest.raises(OSError, match="No space"):
            device.updater.poll()
        assert device.version() == "1"
        device.start()
        assert device.version() == "1"

    device.updater.poll()

    assert (device.version(), device.updater.outcome()) == ("2", (2, ""))


@pytest.mark.slow
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), TypeError("a defect")], ids=["disk", "defect"]
)
def test_the_agent_tries_each_step_again(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol_in(tmp_path)
    agent = Agent(Options(tmp_path, port=0, poll_seconds=0.01, send_seconds=0.01))
    attempts: list[str] = []

    def attempt(name: str) -> None:
        attempts.append(name)
        raise error

    monkeypatch.setattr(agent._updater, "poll", lambda: attempt("poll"))
    monkeypatch.setattr(agent._uplink, "send_status", lambda **_: attempt("status"))
    monkeypatch.setattr(agent._sender, "send_batch", lambda: attempt("rows"))
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        wait_until(lambda: attempts.count("poll") >= 3, what="it polls three times")
    finally:
        agent.stop()
        thread.join()

    assert attempts[:4] == ["poll", "status", "rows", "poll"]


@pytest.mark.parametrize("what", ["a poll is due", "the version fails"])
def test_rows_that_are_many_wait_for_what_is_more_urgent(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol_in(tmp_path)
    agent, sent = Agent(Options(tmp_path, port=0)), []
    agent._poll_at = math.inf

    def send_batch() -> int:
        sent.append(None)
        if len(sent) == 2:
            if what == "a poll is due":
                agent._poll_at = 0.0
            else:
                agent._in_use.needs_look.set()
        return BATCH_ROWS

    monkeypatch.setattr(agent._sender, "send_batch", send_batch)
    try:
        agent._send_all()
    finally:
        agent.close()

    assert len(sent) == 2


def test_rows_that_could_not_be_stored_are_counted_also_after_a_restart(tmp_path: Path) -> None:
    enrol_in(tmp_path)
    agent = Agent(Options(tmp_path, port=0))
    agent._dataplane.unstored_rows = 7  # as while the disk took nothing
    agent.close()

    agent = Agent(Options(tmp_path, port=0))
    try:
        assert agent._rows is not None
        assert agent._rows.dropped_rows() == 7
    finally:
        agent.close()
