"""Jumps of a share: what is one, what is none, and what is too little to tell."""

import numpy as np
import pytest
from scipy.special import logit

from monitors.stats.streams.share_shifts import share_shift

WEEK = 7


def days_of_share(shares: list[float], *, rows: int = 300) -> tuple[list[int], list[int]]:
    return [round(share * rows) for share in shares], [rows] * len(shares)


def newest(count: int, days: int) -> list[bool]:
    return [False] * (days - count) + [True] * count


class TestShareShift:
    @pytest.mark.parametrize(
        ("before", "now"), [(0.2, 0.6), (0.5, 0.05), (0.002, 0.02), (1.0, 0.4), (0.0, 0.3)]
    )
    def test_finds_a_jump(self, before: float, now: float) -> None:
        hits, totals = days_of_share([before] * 20 + [now] * WEEK, rows=2000)

        shift = share_shift(hits, totals, newest(WEEK, 27))

        assert shift is not None
        assert shift.jumped
        assert (shift.before, shift.now, shift.rows) == (
            pytest.approx(before),
            pytest.approx(now),
            WEEK * 2000,
        )
        assert np.sign(shift.z) == np.sign(now - before)

    def test_lets_a_season_pass_that_the_days_before_have_shown(self) -> None:
        """The share of late flights moves between 4 and 76 per cent a day; no week of them is a jump."""
        rng = np.random.default_rng(3)
        shares = 1 / (1 + np.exp(-rng.normal(-1.3, 0.75, 120)))
        shares[-WEEK:] = 0.45
        hits, totals = days_of_share(list(shares), rows=900)

        shift = share_shift(hits, totals, newest(WEEK, 120))

        assert shift is not None
        assert not shift.jumped
        assert shift.z > 0

    def test_lets_a_small_change_pass_however_certain(self) -> None:
        hits, totals = days_of_share([0.2] * 20 + [0.35] * WEEK, rows=100_000)

        shift = share_shift(hits, totals, newest(WEEK, 27))

        assert shift is not None
        assert shift.z > 10
        assert not shift.jumped

    def test_lets_chance_pass_where_rows_are_few(self) -> None:
        hits = [1] * 20 + [4, 4]
        totals = [25] * 22

        shift = share_shift(hits, totals, newest(2, 22))

        assert shift is not None
        assert shift.odds_ratio > 3
        assert not shift.jumped

    def test_asks_for_a_change_of_the_share_where_told(self) -> None:
        hits, totals = days_of_share([0.0] * 20 + [0.1] * WEEK)

        alone = share_shift(hits, totals, newest(WEEK, 27))
        told = share_shift(hits, totals, newest(WEEK, 27), least_change=0.2)

        assert (alone and alone.jumped, told and told.jumped) == (True, False)

    def test_measures_the_odds_as_scipy_does(self) -> None:
        hits, totals = days_of_share([0.2] * 20 + [0.6] * WEEK, rows=100_000)

        shift = share_shift(hits, totals, newest(WEEK, 27))

        assert shift is not None
        assert np.log(shift.odds_ratio) == pytest.approx(logit(0.6) - logit(0.2), rel=1e-4)

    @pytest.mark.parametrize(
        ("hits", "totals", "new"),
        [
            ([], [], []),
            ([100] * 7, [200] * 7, newest(1, 7)),
            ([5] * 30, [10] * 30, newest(7, 30)),
            ([100] * 29 + [10], [200] * 29 + [20], newest(1, 30)),
        ],
        ids=["nothing", "six days of history", "days of ten rows", "twenty new rows"],
    )
    def test_does_not_judge_too_little(self, hits: list[int], totals: list[int], new: list[bool]) -> None:
        assert share_shift(hits, totals, new) is None

    def test_does_not_depend_on_the_order_of_days(self) -> None:
        hits, totals = days_of_share([0.1, 0.2, 0.3, 0.2, 0.15, 0.25, 0.2, 0.22, 0.7, 0.8])
        new = newest(2, 10)
        order = np.random.default_rng(0).permutation(10)

        assert share_shift(hits, totals, new) == share_shift(
            np.array(hits)[order], np.array(totals)[order], np.array(new)[order]
        )
