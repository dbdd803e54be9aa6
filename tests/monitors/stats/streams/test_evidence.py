"""Evidence of successive windows: it keeps its budget where nothing drifts, and sees what no window shows alone."""

from collections.abc import Callable
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from monitors.stats.drift.judging import judge_alone
from monitors.stats.drift.prepared import prepare_reference
from monitors.stats.drift.reference_days import count_days
from monitors.stats.drift.thresholds import resample_null
from monitors.stats.mergeable.sketches import merge_numbers, summarise_numbers
from monitors.stats.streams.change import UnreadableState
from monitors.stats.streams.evidence import BUDGET, Accumulated, Chance, e_value

LIMIT = np.log10(BUDGET)
CERTAIN = 1e4  # windows of a reference that leaves no doubt
P_VALUES = st.lists(st.floats(1e-300, 1), min_size=1, max_size=60)


def powers(p_values: np.ndarray, *, windows: float = CERTAIN) -> list[float]:
    """The power of all streams together after each window; a column of p-values each."""
    evidence, found = Accumulated(), []
    for mark, row in enumerate(p_values):
        evidence.update({f"x{place}": Chance(float(p), windows) for place, p in enumerate(row)}, mark)
        found.append(evidence.together(evidence.streams))
    return found


def noticed(p_values: np.ndarray, *, windows: float = CERTAIN) -> int | None:
    """The first window at which all streams together are beyond the budget."""
    return next((t for t, power in enumerate(powers(p_values, windows=windows)) if power > LIMIT), None)


class TestBet:
    @pytest.mark.parametrize("windows", [2, 7, 14, 60, 400, CERTAIN])
    def test_loses_in_the_mean_while_nothing_drifts(self, windows: float) -> None:
        mean, _ = integrate.quad(lambda p: e_value(Chance(p, windows)), 0, 1, points=[0.01])

        assert mean < 1

    @pytest.mark.parametrize("windows", [7, 14, 60])
    def test_loses_against_19_of_20_references_of_so_few_windows(self, windows: float) -> None:
        rates = np.random.default_rng(0).gamma(windows, 1 / windows, 400)
        p = (np.arange(2_000) + 0.5) / 2_000

        means = [np.mean([e_value(Chance(one ** (1 / rate), windows)) for one in p[::10]]) for rate in rates]

        assert np.mean(np.array(means) <= 1) > 0.94

    def test_wins_no_more_on_a_wild_window_than_on_one_in_a_hundred(self) -> None:
        assert e_value(Chance(1e-30, 60)) == e_value(Chance(0.01, 60)) < 5

    @given(p=st.floats(1e-300, 1), windows=st.floats(1, 1e5))
    def test_dares_more_the_more_windows_a_reference_has(self, p: float, windows: float) -> None:
        few, many = (e_value(Chance(p, n)) for n in (windows, 2 * windows))

        assert few <= many + 1e-9


class TestQuiet:
    @pytest.mark.parametrize("streams", [1, 10])
    def test_windows_keep_the_budget(self, streams: int) -> None:
        rng = np.random.default_rng(0)

        alarms = [noticed(rng.uniform(size=(120, streams))) is not None for _ in range(100)]

        assert sum(alarms) <= 1  # of 12,000 windows

    @pytest.mark.slow
    def test_streams_that_are_the_same_keep_it_too(self) -> None:
        rng = np.random.default_rng(0)

        alarms = [noticed(np.repeat(rng.uniform(size=(120, 1)), 10, axis=1)) is not None for _ in range(100)]

        assert sum(alarms) <= 1

    @pytest.mark.slow
    @pytest.mark.parametrize("days", [14, 60, 400])
    @pytest.mark.parametrize("level", [0.0, 0.5])
    def test_days_keep_it_against_a_reference_of_days(self, days: int, level: float) -> None:
        """`level` is the standard deviation of the days' own levels, beside rows of 1."""
        quiet = [judged_days(seed, days=days, level=level, shift=lambda _: 0.0) for seed in range(4)]

        assert [noticed(p_values, windows=worth) for p_values, worth in quiet] == [None] * 4


class TestDrift:
    @pytest.mark.parametrize("windows", [60, 400])
    def test_a_trend_is_noticed_long_before_a_window_stands_out(self, windows: float) -> None:
        rng = np.random.default_rng(0)
        trend = 0.05 * np.arange(120)[:, np.newaxis]
        runs = [2 * stats.norm.sf(np.abs(rng.normal(size=(120, 1)) + trend)) for _ in range(40)]

        found = [noticed(p, windows=windows) for p in runs]

        assert all(one is not None and one < 65 for one in found)  # where the mean has come 3.2 errors far
        assert np.median(found) < 50

    def test_near_misses_add_up(self) -> None:
        p_values = np.array([[0.5], [0.9], [0.2]] * 5 + [[0.05]] * 20)

        found = noticed(p_values)

        assert found is not None
        assert 15 < found < 15 + 12

    def test_one_feature_of_many_is_seen(self) -> None:
        rng = np.random.default_rng(0)
        p_values = rng.uniform(size=(60, 20))
        p_values[20:, 3] = 0.04

        evidence = Accumulated()
        for mark, row in enumerate(p_values):
            evidence.update({f"x{place}": Chance(p, 200) for place, p in enumerate(row)}, mark)

        assert evidence.together(evidence.streams) > LIMIT
        most = max(evidence.streams, key=lambda name: evidence.streams[name].power)
        assert most == "x3"
        assert abs(evidence.streams[most].since - 20) <= 3

    @pytest.mark.parametrize("level", [0.0, 0.5])
    def test_real_days_that_drift_slowly_are_noticed(self, level: float) -> None:
        scale = np.hypot(level, 1 / np.sqrt(100))
        p_values, windows = judged_days(1, days=60, level=level, shift=lambda day: 0.05 * scale * day)

        found = noticed(p_values, windows=windows)

        assert found is not None
        assert found < 80

    def test_a_step_that_every_window_shows_is_left_to_them(self) -> None:
        evidence = Accumulated()

        for mark in range(40):
            evidence.update({"x": Chance(1e-9, CERTAIN, stands_out=mark > 9)}, mark)

        assert evidence.together(["x"]) == 0

    def test_it_ends_after_the_drift_has(self) -> None:
        rng = np.random.default_rng(0)
        p_values = np.concatenate([np.full((200, 1), 0.02), rng.uniform(size=(60, 1))])

        found = powers(p_values)

        assert found[199] > LIMIT
        assert found[-1] < LIMIT


def judged_days(
    seed: int, *, days: int, level: float, shift: Callable[[int], float], rows: int = 100
) -> tuple[np.ndarray, float]:
    """Judge 120 days by a reference of some days: their p-values, and what the reference is worth."""
    rng = np.random.default_rng([seed, days])

    def day_of(shift: float):
        return summarise_numbers(rng.normal(rng.normal(shift, level), 1, rows), centre=0.0)

    known = [day_of(0.0) for _ in range(days)]
    reference = prepare_reference(merge_numbers(known))
    counted = count_days(
        {"x": reference}, [(date.fromordinal(1 + number), {"x": day}) for number, day in enumerate(known)]
    )["x"]
    null = resample_null(reference, rows, rng=rng, days=counted)
    drifts = [judge_alone(reference, day_of(shift(day)), "x", lambda *_: null, among=1) for day in range(120)]
    assert all(drifts)
    p_values = np.array([[drift.p_value] for drift in drifts if drift])
    return p_values, null.reference_windows


class TestState:
    @given(p_values=P_VALUES, cut=st.integers(0, 60))
    def test_that_was_stored_goes_on_as_if_nothing_had_happened(
        self, p_values: list[float], cut: int
    ) -> None:
        whole, resumed = Accumulated(7), Accumulated(7)

        for mark, p in enumerate(p_values):
            if mark == cut:
                resumed = Accumulated.decode(resumed.encode())
            for evidence in (whole, resumed):
                evidence.update({"x": Chance(p, 60)}, mark)

        assert resumed == whole

    def test_of_a_stream_that_a_window_does_not_mention_stays(self) -> None:
        evidence = Accumulated()
        evidence.update({"x": Chance(0.01, 60), "y": Chance(0.5, 60)}, 0)
        before = evidence.streams["x"].power

        evidence.update({"y": Chance(0.5, 60)}, 1)

        assert evidence.streams["x"].power == before > 0

    def test_of_other_bytes_is_refused(self) -> None:
        with pytest.raises(UnreadableState, match="7 bytes"):
            Accumulated.decode(b"nothing")
