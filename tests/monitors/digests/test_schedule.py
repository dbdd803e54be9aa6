"""When a digest is due."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from monitors.digests.schedule import last_due

ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Australia/Lord_Howe")
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))


def due(now: str, *, hour: int = 8, zone: str = "Europe/Berlin", weekday: int | None = None) -> str:
    found = last_due(
        datetime.fromisoformat(now), is_weekly=weekday is not None, weekday=weekday or 0, hour=hour, zone=zone
    )
    return found.isoformat()


class TestDaily:
    def test_is_at_the_hour_of_the_place_in_winter_and_in_summer(self) -> None:
        assert due("2026-01-10T07:00:00+00:00") == "2026-01-10T07:00:00+00:00"
        assert due("2026-07-10T07:00:00+00:00") == "2026-07-10T06:00:00+00:00"

    def test_was_yesterday_before_the_hour(self) -> None:
        assert due("2026-01-10T06:59:59+00:00") == "2026-01-09T07:00:00+00:00"

    def test_comes_once_in_the_night_in_which_the_hour_is_skipped(self) -> None:
        assert due("2026-03-29T12:00:00+00:00", hour=2) == "2026-03-29T01:00:00+00:00"

    def test_comes_at_the_first_of_two_equal_hours(self) -> None:
        assert due("2026-10-25T12:00:00+00:00", hour=2) == "2026-10-25T00:00:00+00:00"


class TestWeekly:
    def test_is_on_its_day(self) -> None:
        assert due("2026-11-28T12:00:00+00:00", weekday=0) == "2026-11-23T07:00:00+00:00"

    def test_was_a_week_ago_before_the_hour_of_its_day(self) -> None:
        assert due("2026-11-23T06:00:00+00:00", weekday=0) == "2026-11-16T07:00:00+00:00"


@given(now=MOMENTS, hour=st.integers(0, 23), weekday=st.integers(0, 6), zone=st.sampled_from(ZONES))
def test_the_newest_one_is_never_ahead_and_never_farther_back_than_a_week_and_a_day(
    now: datetime, hour: int, weekday: int, zone: str
) -> None:
    for is_weekly, length in ((False, timedelta(days=1)), (True, timedelta(days=7))):
        found = last_due(now, is_weekly=is_weekly, weekday=weekday, hour=hour, zone=zone)

        assert found <= now < found + length + timedelta(days=1, hours=2)
        if is_weekly:
            local = found.astimezone(ZoneInfo(zone))
            assert (local - timedelta(hours=2)).weekday() in (weekday, (weekday - 1) % 7)
