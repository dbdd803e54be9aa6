"""The real data: read whole, without leaks, and shifted to the present."""

from datetime import date, timedelta

import pandas as pd
import pytest

from driftline.demo.flights_data import shift_to
from driftline.demo.flights_timeline import FEATURES, LIVE_END, LIVE_START, TRAINING_END
from driftline.demo.tables import read_table


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    return read_table("flights")


class TestFlights:
    def test_every_flight_of_half_a_year_is_there_in_order(self, flights: pd.DataFrame) -> None:
        assert len(flights) == 166_054
        assert flights.event_time.is_monotonic_increasing
        assert flights.event_time.max() < LIVE_END

    def test_features_are_fifteen_and_none_is_known_only_later(self, flights: pd.DataFrame) -> None:
        assert set(flights.columns) == {*FEATURES, "event_time", "label_time", "label"}
        assert len(FEATURES) == 15
        assert not [name for name in FEATURES if "delay" in name or "arr" in name.split("_") or "air" in name]

    def test_labels_land_after_departure_and_some_never_come(self, flights: pd.DataFrame) -> None:
        lag = (flights.label_time - flights.event_time).dropna()

        assert flights.label.isna().sum() == flights.label_time.isna().sum() == 5_464
        assert lag.min() > timedelta(minutes=30)
        assert lag.median() == timedelta(hours=2, minutes=52)

    def test_the_reference_months_have_their_known_size_and_late_rate(self, flights: pd.DataFrame) -> None:
        known = flights[(flights.event_time < TRAINING_END) & flights.label.notna()]

        assert len(known) == 49_855
        assert (known.label == "late").mean() == pytest.approx(0.22, abs=0.01)


class TestShift:
    @pytest.mark.parametrize("days", range(7))
    def test_live_flights_begin_on_the_latest_same_weekday_not_after_today(self, days: int) -> None:
        today = date(2026, 11, 23) + timedelta(days=days)

        shift = shift_to(today)

        assert shift % timedelta(weeks=1) == timedelta()
        assert LIVE_START.date() + shift == date(2026, 11, 23)
