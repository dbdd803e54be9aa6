"""Many agents over a bad network, killed again and again: each row counts once, and a bad release harms nobody.

Longer: DRIFTLINE_TEST_AGENTS=40 DRIFTLINE_TEST_AGENT_KILLS=50, over DRIFTLINE_TEST_AGENT_MINUTES at least; the seed is
printed, and DRIFTLINE_TEST_AGENT_SEED repeats it.
"""

import os
import random
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db.models import Sum

from driftline_agent.agent import Options
from driftline_agent.errors import NotReached
from driftline_agent.rows.row_store import RowStore
from driftline_agent.rows.summariser import Summariser
from driftline_agent.rows.window_store import HOUR_MS
from driftline_agent.server.device_clock import DeviceClock
from driftline_agent.server.identity import read_identity
from driftline_agent.server.uplink import Uplink
from inference.edge.groups import change_group
from inference.edge.models import Device, DeviceGroup, Release
from inference.prediction_log.models import PredictionChunk, PredictionRow
from monitors.summaries.models import Summary
from tests.driftline_agent.enrolled import running_agents
from tests.driftline_agent.processes import AgentProcess
from tests.driftline_agent.proxy import bad_network
from tests.inference.edge.fleet import release
from tests.inference.onnx_models import linear_model
from tests.waiting import wait_until
from tests.worlds.approvals import work

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

AGENTS = int(os.environ.get("DRIFTLINE_TEST_AGENTS", "3"))
KILLS = int(os.environ.get("DRIFTLINE_TEST_AGENT_KILLS", "6"))
MINUTES = float(os.environ.get("DRIFTLINE_TEST_AGENT_MINUTES", "0"))
SEED = int(os.environ.get("DRIFTLINE_TEST_AGENT_SEED") or secrets.randbelow(1 << 31))
RINGS = (34, 100)
PATIENCE_SECONDS = 60.0 + 10 * AGENTS
POLL_SECONDS = max(0.3, AGENTS / 50)  # the server of the test answers some 100 requests/s
ASK_SECONDS = max(0.02, AGENTS / 150)  # from one request to an agent until the next


@contextmanager
def asked_all_the_time(agents: list[AgentProcess]) -> Iterator[None]:
    """Have a program ask each agent, one request after the other."""
    is_over = threading.Event()

    def ask(agent: AgentProcess) -> None:
        while not is_over.is_set():
            agent.ask()
            is_over.wait(ASK_SECONDS)

    threads = [threading.Thread(target=ask, args=[agent]) for agent in agents]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def kill_and_start(agents: list[AgentProcess], chance: random.Random) -> None:
    """Kill some agent at some moment, and start it again."""
    agent = chance.choice(agents)
    wait_until(lambda: agent.ask() is not None, seconds=PATIENCE_SECONDS, what=f"{agent.name} answers")
    threading.Event().wait(chance.random() * 0.3)
    agent.kill()
    agent.start()


def has_version(agents: list[AgentProcess], version: str) -> bool:
    return all(agent.version() == version for agent in agents)


def wait_for_all(agents: list[AgentProcess], version: str) -> None:
    wait_until(
        lambda: has_version(agents, version),
        seconds=PATIENCE_SECONDS,
        what=f"all answer with version {version}",
    )


def ended(moving: Release) -> str:
    """Wait for a release to end, and say how."""
    return wait_until(
        lambda: (
            Release.objects.exclude(state="running")
            .filter(pk=moving.pk)
            .values_list("state", flat=True)
            .first()
        ),
        seconds=PATIENCE_SECONDS,
        what="the release ends",
    )


def has_rows(agent: AgentProcess) -> bool:
    """Return whether rows of an agent wait to be sent or added up."""
    db = sqlite3.connect(agent.home / "rows.db")
    try:
        return db.execute("SELECT 1 FROM rows LIMIT 1").fetchone() is not None
    finally:
        db.close()


def given_numbers(agent: AgentProcess) -> int:
    """Read how many numbers an agent has given."""
    db = sqlite3.connect(agent.home / "rows.db")
    try:
        (given,) = db.execute("SELECT seq FROM sqlite_sequence").fetchone()
        return given
    finally:
        db.close()


def send_hours(agent: AgentProcess) -> int:
    """Send the hours of an agent that has ended, as it would once they are over; return how many rows they have."""
    identity, clock = read_identity(agent.home), DeviceClock()
    rows = RowStore(agent.home / "rows.db", max_bytes=Options.max_row_bytes, clock=clock, first_sequence=None)
    uplink = Uplink(identity.url, identity.token, clock, identity.public_key)
    summariser = Summariser(identity, rows, uplink)
    summed = rows.unsent_rows()
    while summed and rows.unsent_rows():
        with suppress(NotReached):
            summariser.send_batch(clock.wall_ms() + 2 * HOUR_MS)
    assert rows.unsent_rows() == 0
    uplink.close()
    rows.close()
    return summed


@pytest.mark.parametrize("sampling", [1.0, 0.5])
def test_every_row_counts_once_and_every_release_ends(
    sampling: float, group: DeviceGroup, live_server: Any, tmp_path: Path
) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    began = time.monotonic()
    change_group(group=group, sampling=sampling, actor="test")
    first = release(group, "1", rings=RINGS)
    with (
        bad_network(live_server.url, SEED) as network,
        running_agents(
            group, live_server.url, tmp_path, AGENTS, proxy=network.url, poll_seconds=POLL_SECONDS
        ) as agents,
    ):
        wait_for_all(agents, "1")
        with asked_all_the_time(agents):
            good = release(group, "2", rings=RINGS)
            for _ in range(KILLS):
                threading.Event().wait(60 * MINUTES / KILLS)
                kill_and_start(agents, chance)
            assert ended(good) == "completed"
            wait_for_all(agents, "2")
            bad = release(group, "3", linear_model(float("nan"), 0.0), rings=RINGS)
            assert ended(bad) == "aborted"
            wait_for_all(agents, "2")
        network.is_calm = True
        calm_since = datetime.now(UTC)
        wait_until(
            lambda: (
                not Device.objects.exclude(last_seen_at__gt=calm_since).exists()
                and not any(map(has_rows, agents))
            ),
            seconds=PATIENCE_SECONDS,
            what="each device has sent its rows, or added them up",
        )
        for agent in agents:
            agent.stop()
        network.is_calm = False
        summed = sum(map(send_hours, agents))
    work(group.model)

    first.refresh_from_db()
    assert first.state == "completed"
    logged = set(PredictionRow.objects.values_list("prediction_id", flat=True))
    stored = {f"{agent.name}-{number}" for agent in agents for number in range(1, given_numbers(agent) + 1)}
    assert logged <= stored
    assert len(logged) + summed <= len(stored)  # the agents added up by themselves what hours had that ended
    assert (summed > 0) == (sampling < 1)
    days = Summary.objects.filter(model=group.model, span="day", segment="")
    assert sum(day.rows for day in days) == len(stored)
    assert {one for agent in agents for one in agent.answered} <= logged
    assert PredictionRow.objects.count() == len(logged)
    assert PredictionChunk.objects.aggregate(rows=Sum("rows"))["rows"] == len(logged)
    assert Device.objects.exclude(dropped_rows=0).count() == 0
    assert network.deeds["double"] > 0
    assert network.deeds["cut after"] > 0
    print(
        f"{AGENTS} agents, {KILLS} kills, {len(logged):,} rows sent and {summed:,} added up, "
        f"{time.monotonic() - began:.0f} s, {dict(network.deeds)}"
    )
