"""Story (c): the real flights without leaks, moved to the present, and rules that judge whole weeks."""

from datetime import date, timedelta

import pandas as pd
import pytest

from driftline.demo.daily_rows import DAY
from driftline.demo.flights import (
    HISTORY_START,
    LIVE_END,
    LIVE_START,
    MODEL,
    TRAINING_END,
    FlightRows,
    rules,
    shift_to,
)
from driftline.demo.tables import read_table

SHIFT = timedelta(weeks=700)


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    return read_table("flights")


@pytest.fixture(scope="module")
def rows(flights: pd.DataFrame) -> FlightRows:
    return FlightRows(flights, SHIFT)


class TestData:
    def test_every_flight_of_half_a_year_is_there_in_order(self, flights: pd.DataFrame) -> None:
        assert len(flights) == 166_054
        assert flights.event_time.is_monotonic_increasing
        assert flights.event_time.max() < LIVE_END

    def test_features_are_fifteen_and_none_is_known_only_later(self, flights: pd.DataFrame) -> None:
        features = MODEL.inputs.names

        assert set(flights.columns) == {*features, "event_time", "label_time", "label"}
        assert len(features) == 15
        assert not [name for name in features if "delay" in name or "arr" in name.split("_") or "air" in name]

    def test_labels_land_after_departure_and_some_never_come(self, flights: pd.DataFrame) -> None:
        lag = (flights.label_time - flights.event_time).dropna()

        assert flights.label.isna().sum() == flights.label_time.isna().sum() == 5_464
        assert lag.min() > timedelta(minutes=30)
        assert lag.median() == timedelta(hours=2, minutes=52)

    def test_the_reference_months_have_their_known_size_and_late_rate(self, flights: pd.DataFrame) -> None:
        known = flights[(flights.event_time < TRAINING_END) & flights.label.notna()]

        assert len(known) == 49_855
        assert (known.label == "late").mean() == pytest.approx(0.22, abs=0.01)


class TestFlightRows:
    def test_flights_leave_at_their_moved_time_and_land_when_they_landed(
        self, flights: pd.DataFrame, rows: FlightRows
    ) -> None:
        sent = rows.between(HISTORY_START + SHIFT, HISTORY_START + SHIFT + DAY)
        landed = rows.labelled_between(HISTORY_START + SHIFT + DAY, HISTORY_START + SHIFT + 2 * DAY)

        of_day = flights[flights.event_time.between(HISTORY_START, HISTORY_START + DAY, inclusive="left")]
        labelled = flights.label_time.between(HISTORY_START + DAY, HISTORY_START + 2 * DAY, inclusive="left")
        assert [row.at - SHIFT for row in sent] == list(of_day.event_time)
        assert [row.known_at is None for row in sent] == list(of_day.label.isna())
        assert sorted(row.place for row in landed) == list(flights.index[labelled])

    def test_after_its_last_day_the_last_four_weeks_are_flown_again(self, rows: FlightRows) -> None:
        first, again = (rows.between(start + SHIFT, start + SHIFT + DAY) for start in (LIVE_START, LIVE_END))

        assert [row.place for row in again] == [row.place for row in first]
        assert {row.alone for row in again}.isdisjoint(row.alone for row in first)

    @pytest.mark.parametrize("days", range(7))
    def test_the_last_weeks_begin_on_the_latest_same_weekday_not_after_today(self, days: int) -> None:
        shift = shift_to(date(2026, 11, 23) + timedelta(days=days))

        assert shift % timedelta(weeks=1) == timedelta()
        assert LIVE_START.date() + shift == date(2026, 11, 23)


def test_rules_judge_two_weeks_in_a_row_and_only_one_retrains() -> None:
    made = rules()

    assert {(rule["span"], rule["for_windows"], rule["recover_windows"]) for rule in made} == {("week", 2, 2)}
    assert [rule.get("action", "notify") for rule in made] == ["retrain", "notify", "notify"]
    assert {rule["feature"] for rule in made if "feature" in rule} <= set(MODEL.inputs.names)


def test_the_story_begins_on_a_monday_after_what_the_champion_learnt_from() -> None:
    assert HISTORY_START.weekday() == 0
    assert HISTORY_START > TRAINING_END
