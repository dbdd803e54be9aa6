"""ADWIN against river's numbers, and what it promises of streams that change and of those that do not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitors.stats.streams.adwin import Adwin
from monitors.stats.streams.change import UnreadableState
from tests.monitors.stats.streams.golden import GOLDEN, golden_stream, read, restart_after_changes, step

VALUES = st.lists(st.floats(-1e9, 1e9, width=32), max_size=120)


@pytest.mark.parametrize("known", GOLDEN["adwin"], ids=lambda known: known["detector"])
def test_it_finds_what_river_finds(known):
    changes, states = restart_after_changes(
        lambda: Adwin(delta=0.002, clock=known["clock"], unit=1.0), golden_stream()
    )

    widths = [[place, state.width, pytest.approx(state.mean)] for place, state in states.items()]
    assert changes == known["changes"]
    assert widths == known["widths"]


@given(values=VALUES, cut=st.integers(0, 120))
def test_a_state_that_was_stored_goes_on_as_if_nothing_had_happened(values, cut):
    whole, resumed = Adwin(), Adwin()

    at_once = [whole.update(value, place) for place, value in enumerate(values)]
    in_parts = []
    for place, value in enumerate(values):
        if place == cut:
            resumed = Adwin.decode(resumed.encode())
        in_parts.append(resumed.update(value, place))

    assert in_parts == at_once
    assert resumed == whole


@settings(max_examples=30)
@given(value=st.floats(-1e100, 1e100), n=st.integers(1, 80))
def test_a_constant_stream_never_changes(value, n):
    assert not read(Adwin(), [value] * n)


@given(values=VALUES)
def test_its_buckets_hold_every_value_of_the_window(values):
    window = Adwin()

    read(window, values)

    newest = values[len(values) - window.width :]
    assert sum(window.totals) == pytest.approx(sum(newest), rel=1e-6, abs=1e-3)
    assert window.width == len(newest)
    assert window.sizes == sorted(window.sizes, reverse=True)


@settings(max_examples=15)
@given(seed=st.integers(0, 50), factor=st.sampled_from([1e-6, 0.5, 8.0, 1e6]), shift=st.floats(-100, 100))
def test_it_finds_the_same_changes_in_other_units(seed, factor, shift):
    values = step(np.random.default_rng(seed), at=60, to=120, height=4.0)

    plain, scaled = read(Adwin(), values), read(Adwin(), (values + shift) * factor)

    assert [(place, change.since) for place, change in scaled] == [
        (place, change.since) for place, change in plain
    ]


def test_a_step_is_noticed_once_and_its_place_and_means_are_told():
    rng = np.random.default_rng(0)

    [(noticed, change)] = read(Adwin(), step(rng, at=100, to=200, height=3.0))

    assert 100 < noticed <= 115
    assert abs(change.since - 100) <= 2
    assert (change.before, change.after) == pytest.approx((0.0, 3.0), abs=0.5)
    assert (change.n_before, change.n_before + change.n_after) == (change.since, noticed + 1)


def test_values_within_their_range_give_few_false_alarms():
    rng = np.random.default_rng(0)

    alarms = [read(Adwin(delta=0.002, unit=1.0), rng.random(150) < 0.3) for _ in range(20)]

    assert not any(alarms)


def test_values_without_a_range_give_few_false_alarms():
    rng = np.random.default_rng(0)

    alarms = [read(Adwin(), rng.standard_t(3, 150)) for _ in range(20)]

    assert not any(alarms)


def test_a_window_grows_with_the_logarithm_of_its_length():
    window = Adwin(clock=50)

    read(window, np.random.default_rng(0).random(2000))

    assert window.width == 2000
    assert len(window.encode()) < 2_000


def test_bytes_that_are_no_state_are_refused():
    with pytest.raises(UnreadableState, match="7 bytes"):
        Adwin.decode(b"nothing")
