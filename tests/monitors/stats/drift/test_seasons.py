"""Which days of a long reference a window is compared with."""

from collections import Counter
from datetime import date, timedelta

import numpy as np
import pytest

from monitors.stats.drift.reference_days import MIN_DAYS
from monitors.stats.drift.seasons import (
    SEASONS,
    covers_a_year,
    days_near,
    middle_of,
    season_of,
    weekdays_differ,
)

YEAR = [date(2025, 1, 1) + timedelta(days=day) for day in range(365)]


class TestASeason:
    @pytest.mark.parametrize("season", range(SEASONS))
    def test_of_one_year_has_each_weekday_often_enough_to_be_compared_with_alone(self, season):
        near = days_near(YEAR, season)

        assert min(Counter(day.weekday() for day in near).values()) >= MIN_DAYS
        assert len(near) < len(YEAR) / 3

    def test_reaches_around_the_turn_of_the_year(self):
        near = days_near(YEAR, season_of(date(2026, 1, 10)))

        assert {day.month for day in near} == {1, 2, 3, 11, 12}

    def test_holds_its_days_of_every_year(self):
        years = [date(2024, 1, 1) + timedelta(days=day) for day in range(3 * 365)]

        assert {day.year for day in days_near(years, 6)} == {2024, 2025, 2026}

    def test_has_each_of_its_own_days_within_two_weeks_of_its_middle(self):
        apart = [abs((middle_of(season_of(day), day.year) - day).days) for day in YEAR]

        assert max(apart) <= 15


@pytest.mark.parametrize(("length", "is_enough"), [(0, False), (200, False), (364, False), (365, True)])
def test_a_year_is_enough_for_seasons(length, is_enough):
    assert covers_a_year(YEAR[:length]) is is_enough


class TestWeekdays:
    @staticmethod
    def bins(rng, *, weekend: float, spread: float = 0.3) -> np.ndarray:
        levels = rng.normal(0, spread, 112) + weekend * (np.arange(112) % 7 >= 5)
        return np.array(
            [np.bincount(np.digitize(rng.normal(level, 1, 24), [-1, 0, 1]), minlength=4) for level in levels],
            dtype=float,
        )

    def test_differ_where_weekends_have_another_level(self):
        found = [
            weekdays_differ(self.bins(np.random.default_rng(seed), weekend=1.0), np.arange(112))
            for seed in range(20)
        ]

        assert sum(found) >= 18

    @pytest.mark.parametrize("spread", [0.0, 0.3, 1.0])
    def test_do_not_where_days_differ_by_themselves(self, spread):
        found = [
            weekdays_differ(
                self.bins(np.random.default_rng(seed), weekend=0.0, spread=spread), np.arange(112)
            )
            for seed in range(200)
        ]

        assert sum(found) <= 1

    def test_cannot_where_all_days_are_of_one(self):
        bins = self.bins(np.random.default_rng(0), weekend=1.0)

        assert not weekdays_differ(bins, np.arange(112) * 7)
