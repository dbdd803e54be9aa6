"""A search that names the rows there are more of, and nothing where no share grew."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from monitors.stats.segments.growth import TimedRows, search_growth
from tests.monitors.stats.segments.airports import rows_of

pytestmark = pytest.mark.slow


def with_column(rows: TimedRows, **columns: NDArray[np.generic]) -> TimedRows:
    return TimedRows({**rows.columns, **columns}, rows.block)


class TestFalseDiscoveries:
    @pytest.mark.parametrize("days", [1, 3])
    def test_are_no_more_than_the_stated_rate_where_no_share_grew(self, days: int) -> None:
        searches, false = 40, 0
        for seed in range(searches):
            rng = np.random.default_rng(seed)
            usual = rows_of(rng, 28)
            false += bool(search_growth(rows_of(rng, days, block_hours=1), usual, days=days).found)

        assert stats.binomtest(false, searches, 0.05, alternative="greater").pvalue > 0.05


class TestSearch:
    def test_finds_the_planted_segment_first_and_alone(self) -> None:
        rng = np.random.default_rng(1)

        search = search_growth(rows_of(rng, 3, more_of_d=0.25, block_hours=1), rows_of(rng, 28), days=3)

        (found,) = search.found
        assert found.name == "airport = d"
        assert found.excess == pytest.approx(found.share - found.usual)
        assert 0 < found.lower < 0.225 < found.upper  # a quarter of the others' nine tenths
        assert found.p_value < 0.05

    def test_ranks_by_the_rows_that_are_in_excess(self) -> None:
        rng = np.random.default_rng(2)
        window = rows_of(rng, 3, more_of_d=0.15, block_hours=1)
        is_x = rng.random(len(window)) < 0.45
        window = with_column(window, carrier=np.where(is_x, "x", window.columns["carrier"]).astype(object))

        found = search_growth(window, rows_of(rng, 28), days=3).found

        assert [one.name for one in found] == ["carrier = x", "airport = d"]
        assert found[0].lower > found[1].lower

    def test_names_the_pair_where_neither_of_its_halves_grew(self) -> None:
        rng = np.random.default_rng(3)
        window, usual = rows_of(rng, 3, block_hours=1), rows_of(rng, 28)
        # The same carriers, but x flies in strong wind.
        order = np.argsort(np.argsort(np.nan_to_num(window.columns["wind"].astype(float), nan=-9)))
        carrier = np.sort(window.columns["carrier"].astype(str))[::-1][order].astype(object)

        found = search_growth(with_column(window, carrier=carrier), usual, days=3).found

        assert all("carrier" in one.name and "wind" in one.name for one in found)
        assert any("carrier = x" in one.name and "wind ≥" in one.name for one in found)

    def test_names_what_was_never_seen_and_what_went_missing(self) -> None:
        rng = np.random.default_rng(4)
        window, usual = rows_of(rng, 2, block_hours=1), rows_of(rng, 14)
        fresh = rng.random(len(window)) < 0.12
        gone = rng.random(len(window)) < 0.3
        window = with_column(
            window,
            airport=np.where(fresh, "new", window.columns["airport"]).astype(object),
            wind=np.where(gone, np.nan, window.columns["wind"].astype(float)),
        )

        found = search_growth(window, usual, days=2).found

        assert [one.name for one in found] == ["wind is missing", "airport = new"]
        assert found[1].usual == 0

    def test_names_the_range_that_a_shifted_number_went_to(self) -> None:
        rng = np.random.default_rng(5)
        window = rows_of(rng, 3, block_hours=1)
        window = with_column(window, wind=window.columns["wind"].astype(float) + 0.5)

        found = search_growth(window, rows_of(rng, 28), days=3).found

        assert found[0].conditions[0].feature == "wind"
        assert found[0].conditions[0].lower is not None
        assert found[0].conditions[0].upper is None

    def test_takes_a_day_that_is_like_some_days_of_the_reference_for_no_news(self) -> None:
        rng = np.random.default_rng(6)
        sundays = np.arange(28) % 7 == 6

        def by_weekday(days: int, is_sunday: NDArray[np.bool_], block_hours: int) -> TimedRows:
            rows = rows_of(rng, days, block_hours=block_hours)
            free = is_sunday[rows.block * block_hours // 24]
            kind = np.where(free & (rng.random(len(rows)) < 0.8), "holiday", "work").astype(object)
            return with_column(rows, kind=kind)

        sunday = by_weekday(1, np.array([True]), 1)

        with_times = search_growth(sunday, by_weekday(28, sundays, 24), days=1).found
        usual = by_weekday(28, sundays, 24)
        without_times = search_growth(sunday, TimedRows(usual.columns, usual.block * 0), days=1).found

        assert with_times == ()
        assert without_times[0].name == "kind = holiday"

    @pytest.mark.parametrize("rows", [0, 1])
    def test_finds_nothing_in_next_to_nothing(self, rows: int) -> None:
        rng = np.random.default_rng(7)
        usual = rows_of(rng, 7)
        few = TimedRows({name: values[:rows] for name, values in usual.columns.items()}, usual.block[:rows])

        assert search_growth(few, usual, days=1).found == ()
        assert search_growth(usual, few, days=1).found == ()
