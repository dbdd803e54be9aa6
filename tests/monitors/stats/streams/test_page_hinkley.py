"""The Page-Hinkley test against river's numbers, and what it promises of streams that change or do not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.stats.streams.change import UnreadableState
from monitors.stats.streams.page_hinkley import MIN_VALUES, PageHinkley
from tests.monitors.stats.streams.golden import GOLDEN, golden_stream, read, restart_after_changes, step

VALUES = st.lists(st.floats(-1e9, 1e9, width=32), max_size=120)


@pytest.mark.parametrize("known", GOLDEN["page_hinkley"], ids=lambda known: known["detector"])
def test_it_finds_what_river_finds(known):
    def as_river() -> PageHinkley:
        return PageHinkley(allowance=0.005, threshold=known["threshold"], fading=1 - 0.0001, unit=1.0)

    changes, _ = restart_after_changes(as_river, golden_stream())

    assert changes == known["changes"]
    assert [place for place, _ in read(as_river(), golden_stream())] == known["changes"]


@given(values=VALUES, cut=st.integers(0, 120))
def test_a_state_that_was_stored_goes_on_as_if_nothing_had_happened(values, cut):
    whole, resumed = PageHinkley(), PageHinkley()

    at_once = [whole.update(value, place) for place, value in enumerate(values)]
    in_parts = []
    for place, value in enumerate(values):
        if place == cut:
            resumed = PageHinkley.decode(resumed.encode())
        in_parts.append(resumed.update(value, place))

    assert in_parts == at_once
    assert resumed == whole


@given(value=st.floats(-1e100, 1e100), n=st.integers(1, 150))
def test_a_constant_stream_never_changes(value, n):
    assert not read(PageHinkley(), [value] * n)


@pytest.mark.parametrize("height", [-5.0, -3.0, 3.0, 5.0])
def test_a_step_is_noticed_soon_and_in_its_direction(height):
    streams = [step(np.random.default_rng(seed), at=60, to=120, height=height) for seed in range(40)]

    first = [read(PageHinkley(), values)[0] for values in streams]

    assert all(60 <= noticed < 80 for noticed, _ in first)
    assert all((change.after > change.before) == (height > 0) for _, change in first)
    assert all(change.n_before + change.n_after == noticed + 1 for noticed, change in first)
    assert abs(np.median([change.since for _, change in first]) - 60) <= 2


def test_the_means_are_those_on_either_side():
    values = [0.0, 2.0] * 20 + [10.0, 12.0] * 10

    (noticed, change), *_ = read(PageHinkley(), values)

    assert change.before == pytest.approx(np.mean(values[: change.since]))
    assert change.after == pytest.approx(np.mean(values[change.since : noticed + 1]))


def test_values_that_do_not_change_give_few_false_alarms():
    rng = np.random.default_rng(0)

    alarms = [read(PageHinkley(), rng.normal(0, 1, 300)) for _ in range(60)]

    assert sum(map(bool, alarms)) <= 1


def test_hours_that_share_their_days_luck_look_like_changes_and_their_days_do_not():
    rng = np.random.default_rng(0)
    streams = [rng.normal(0, 1, (60, 24)) + rng.normal(0, 0.3, (60, 1)) for _ in range(30)]

    by_hour = [read(PageHinkley(), days.ravel()) for days in streams]
    by_day = [read(PageHinkley(), days.mean(axis=1)) for days in streams]

    assert sum(map(bool, by_hour)) > 10
    assert sum(map(bool, by_day)) <= 1


def test_nothing_is_told_before_there_are_enough_values():
    assert not read(PageHinkley(), [0.0, 0.1] * 3 + [9.0] * (MIN_VALUES - 7))


def test_bytes_that_are_no_state_are_refused():
    with pytest.raises(UnreadableState, match="7 bytes"):
        PageHinkley.decode(b"nothing")
