"""The server's time as the device knows it: exacter with each answer, whatever the device's own clock says."""

import random
import time

import pytest

from driftline_agent.server.device_clock import DeviceClock
from tests.driftline_agent.device import YEAR_2026_MS


def test_nothing_is_known_before_the_server_was_heard_of() -> None:
    clock = DeviceClock()

    assert (clock.zero_ms, clock.server_ms(), clock.skew_ms()) == (None, None, None)


def test_one_answer_is_right_to_half_a_second_and_half_its_way() -> None:
    clock = DeviceClock()

    clock.observe(YEAR_2026_MS + 3_000, sent_ms=1_000, received_ms=1_200)

    assert clock.zero_ms is not None
    assert abs(clock.zero_ms - (YEAR_2026_MS + 2_400)) <= 600


def test_many_answers_are_exacter_than_the_second_of_each() -> None:
    clock, chance = DeviceClock(), random.Random(1)

    for _ in range(200):
        running = chance.randrange(10**8)
        date = (YEAR_2026_MS + 321 + running) // 1000 * 1000
        clock.observe(date, sent_ms=running, received_ms=running)

    assert clock.zero_ms is not None
    assert abs(clock.zero_ms - (YEAR_2026_MS + 321)) < 30


def test_a_server_that_writes_its_date_anew_each_second_moves_no_time() -> None:
    clock, chance = DeviceClock(), random.Random(1)

    for _ in range(200):
        running = chance.randrange(10**8)
        written = (
            YEAR_2026_MS + 321 + running - chance.randrange(1_100)
        )  # and keeps it for the answers meanwhile
        clock.observe(written // 1000 * 1000, sent_ms=running, received_ms=running)

    assert clock.zero_ms is not None
    assert abs(clock.zero_ms - (YEAR_2026_MS + 321)) < 200


def test_a_server_whose_clock_was_set_is_believed() -> None:
    clock = DeviceClock()
    clock.observe(YEAR_2026_MS, sent_ms=0, received_ms=0)

    clock.observe(YEAR_2026_MS + 3_600_000, sent_ms=0, received_ms=0)

    assert clock.zero_ms == YEAR_2026_MS + 3_600_500


def test_the_time_since_the_start_has_the_time_in_it_that_the_machine_slept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    awake, slept = 5_000_000_000, 3_600_000_000_000
    clocks = {time.CLOCK_MONOTONIC: awake, time.CLOCK_BOOTTIME: awake + slept}
    monkeypatch.setattr(time, "clock_gettime_ns", clocks.__getitem__)
    monkeypatch.setattr(time, "monotonic_ns", lambda: awake)

    assert DeviceClock().running_ms() == 3_605_000


def test_whoever_sets_the_devices_clock_moves_no_time_of_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = DeviceClock()
    clock.observe(YEAR_2026_MS, sent_ms=clock.running_ms(), received_ms=clock.running_ms())
    before = clock.server_ms()
    assert before is not None

    monkeypatch.setattr(time, "time_ns", lambda: 0)

    after = clock.server_ms()
    assert after is not None
    assert YEAR_2026_MS <= before <= after
    skew = clock.skew_ms()
    assert skew is not None
    assert skew >= YEAR_2026_MS
