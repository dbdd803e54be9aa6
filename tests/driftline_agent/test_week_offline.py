"""A week without a network: what fits into 64 MiB is in the right windows afterwards, and what does not is counted."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from driftline_agent import agent as agent_module
from driftline_agent.agent import Agent, Options
from driftline_agent.errors import NotReached
from driftline_agent.rows.row_file import make_row_file
from driftline_agent.server.identity import store_identity
from driftline_agent.server.uplink import enrol
from inference.edge.enrolment import create_device
from inference.edge.groups import change_group
from inference.edge.models import Device, DeviceGroup
from inference.edge.releases import start_release
from inference.prediction_log.models import PredictionRow
from monitors.definitions.models import FeatureProfile
from monitors.stats.mergeable.sketches import NumericSummary
from monitors.stats.mergeable.window_summary import WindowSummary
from monitors.summaries.models import Summary
from tests.driftline_agent.set_clock import SetClock
from tests.inference.edge.fleet import add_version
from tests.inference.onnx_models import summing_model, summing_signature
from tests.worlds.approvals import work

FEATURES = 100
HOURS = 7 * 24
ROWS_AN_HOUR = 200
"""4,800 a day, of 2.6 kB each, and batches that end by their size."""
HOURS_ADDED_UP = 48
HOUR_MS = 3_600_000


@pytest.fixture
def home(group: DeviceGroup, live_server: Any, tmp_path: Path) -> Path:
    """The home of a device that was enrolled and took version 1, before its machine lost its power."""
    add_version(group.model, "1", summing_model(FEATURES), summing_signature(FEATURES))
    now = datetime.now(UTC)
    start_release(group=group, version="1", actor="test", now=now)
    _, code = create_device(group=group, name="truck", actor="test", now=now)
    identity, first = enrol(live_server.url, code, SetClock(), key="k" * 32)
    home = tmp_path / "device"
    home.mkdir()
    week_ago = round((now - timedelta(hours=HOURS + 1)).timestamp() * 1000)
    store_identity(home, replace(identity, enrolled_ms=week_ago))
    make_row_file(home, first, max_bytes=Options.max_row_bytes)
    online = Agent(Options(home, port=0))
    online._updater.poll()
    online.close()
    return home


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """The clock of a machine that has started, takes the year for 1970, and has not heard of the server."""
    clock = SetClock("since the power came back", wall=0)
    monkeypatch.setattr(agent_module, "DeviceClock", lambda: clock)
    return clock


@pytest.fixture
def agent(home: Path, clock: SetClock) -> Iterator[Agent]:
    agent = Agent(Options(home, port=0))
    yield agent
    agent.close()


def ask(agent: Agent, first: int) -> None:
    """Have the model answer the rows of an hour; the first feature of each is its number."""
    rows = [[number, *([number % 997 / 7] * (FEATURES - 1))] for number in range(first, first + ROWS_AN_HOUR)]
    tensor = {"name": "X", "shape": [ROWS_AN_HOUR, FEATURES], "datatype": "FP32", "data": rows}
    assert (
        agent._dataplane.write("/v2/models/fuel/infer", json.dumps({"inputs": [tensor]}).encode()).status
        == 200
    )


def current_hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def live_offline(
    agent: Agent,
    clock: SetClock,
    home: Path,
    *,
    hours: int = HOURS,
    each_hour: Callable[[], object] = lambda: None,
) -> dict[datetime, range]:
    """Answer rows in each hour of a week, or less, that ends now; return the rows of each, by their numbers."""
    this_hour = current_hour()
    now_ms = round((datetime.now(UTC) - this_hour).total_seconds() * 1000)
    asked = {}
    for place in range(hours):
        clock.running = place * HOUR_MS + HOUR_MS // 2
        first = place * ROWS_AN_HOUR + 1
        ask(agent, first)
        each_hour()
        asked[this_hour - timedelta(hours=hours - place)] = range(first, first + ROWS_AN_HOUR)
        assert sum(path.stat().st_size for path in home.glob("rows.db*")) <= Options.max_row_bytes
    clock.running = hours * HOUR_MS + now_ms
    return asked


def windows_of(group: DeviceGroup) -> dict[datetime, tuple[int, float, float]]:
    """Read of each hour how many rows it has, and the first and the last of their numbers."""
    windows = {}
    for summary in Summary.objects.filter(model=group.model, span="hour", segment=""):
        numbers = WindowSummary.decode(bytes(summary.payload)).features["f0"]
        assert isinstance(numbers, NumericSummary)
        windows[summary.start] = (summary.rows, numbers.minimum, numbers.maximum)
    return windows


@pytest.mark.slow
def test_rows_of_a_week_are_in_their_windows_but_for_the_oldest_that_had_no_room(
    agent: Agent, clock: SetClock, group: DeviceGroup, home: Path
) -> None:
    asked = live_offline(agent, clock, home)
    assert agent._rows is not None
    dropped = agent._rows.dropped_rows()

    agent._report()
    agent._poll_at = math.inf  # rows do not wait for the next poll
    agent._send_all()
    work(group.model)

    asked_rows = HOURS * ROWS_AN_HOUR
    assert 0 < dropped < asked_rows / 2
    assert Device.objects.get().dropped_rows == dropped
    remaining = {hour: range(max(rows.start, dropped + 1), rows.stop) for hour, rows in asked.items()}
    assert windows_of(group) == {
        hour: (len(rows), rows[0], rows[-1]) for hour, rows in remaining.items() if rows
    }
    assert PredictionRow.objects.count() == asked_rows - dropped


@pytest.mark.slow
def test_a_device_that_adds_its_rows_up_drops_none_and_keeps_all_hours(
    agent: Agent, clock: SetClock, group: DeviceGroup, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*(f"f{place}" for place in range(FEATURES)), "prediction"):
        FeatureProfile.objects.create(model=group.model, feature=name, centre=0.0)
    change_group(group=group, sampling=0.0, actor="test")
    agent._updater.poll()
    agent._add_up()
    clock.hear(
        round((current_hour() - timedelta(hours=HOURS_ADDED_UP)).timestamp() * 1000)
    )  # when the network goes
    with monkeypatch.context() as offline:
        offline.setattr(agent._uplink, "_call", be_away)
        asked = live_offline(
            agent, clock, home, hours=HOURS_ADDED_UP, each_hour=lambda: agent._try(agent._add_up)
        )

    agent._report()
    assert Device.objects.get().unsent_rows == HOURS_ADDED_UP * ROWS_AN_HOUR
    while agent._summariser is not None and agent._summariser.send_batch(clock.zero_ms + 1_000 * HOUR_MS):
        pass
    agent._report()
    work(group.model)

    device = Device.objects.get()
    assert (device.unsent_rows, device.dropped_rows) == (0, 0)
    assert windows_of(group) == {hour: (len(rows), rows[0], rows[-1]) for hour, rows in asked.items()}


def be_away(*_: object, **__: object) -> None:
    raise NotReached("it is away")
