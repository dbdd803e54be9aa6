"""When a route sends: hours and days in a zone, holidays, and the change of clocks."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from monitors.alerts.routing.parsing import parse_document
from monitors.alerts.routing.tree import AlertRoute

BERLIN = ZoneInfo("Europe/Berlin")
OFFICE = {
    "name": "office", "zone": "Europe/Berlin", "weekdays": ["monday:friday"], "times": ["09:00-17:00"],
    "except_dates": ["2026-12-25"],
}  # fmt: skip


def route(*, mute: bool = False, **interval: Any) -> AlertRoute:
    key = "mute_time_intervals" if mute else "active_time_intervals"
    written = {"name": "office"} | interval
    _, tree = parse_document({"route": {"routes": [{key: ["office"]}]}, "time_intervals": [written]})
    return tree.root.routes[0]


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


class TestAnActiveInterval:
    @pytest.mark.parametrize(
        ("moment", "opens"),
        [
            ("2026-11-27 08:59", "2026-11-27 09:00"),  # a Friday
            ("2026-11-27 09:00", "2026-11-27 09:00"),
            ("2026-11-27 17:00", "2026-11-30 09:00"),
            ("2026-11-28 12:00", "2026-11-30 09:00"),
            ("2026-12-25 10:00", "2026-12-28 09:00"),  # a Friday and a holiday
            ("2026-03-27 18:00", "2026-03-30 09:00"),  # the clocks are changed in between
            ("2026-10-23 18:00", "2026-10-26 09:00"),
        ],
    )
    def test_lets_a_route_send_in_its_hours_by_the_clock_of_its_zone(self, moment: str, opens: str) -> None:
        assert route(**OFFICE).next_open(berlin(moment)) == berlin(opens)

    def test_that_never_comes_lets_nothing_through(self) -> None:
        never = route(dates=["2020-01-01"])

        assert never.next_open(datetime(2026, 11, 27, tzinfo=UTC)) is None
        assert never.describe_mute(datetime(2026, 11, 27, tzinfo=UTC)) == "Outside office"


class TestAMuteInterval:
    def test_ends_at_the_end_of_the_night(self) -> None:
        night = route(mute=True, zone="Europe/Berlin", times=["22:00-24:00", "00:00-06:00"])

        assert night.next_open(berlin("2026-11-27 22:30")) == berlin("2026-11-28 06:00")
        assert night.describe_mute(berlin("2026-11-27 22:30")) == "Muted by office"
        assert night.describe_mute(berlin("2026-11-28 06:00")) == ""

    @pytest.mark.parametrize(
        ("days", "day", "is_muted"),
        [
            ("-1", 28, True),
            ("-1", 27, False),
            ("1:3", 3, True),
            ("1:3", 4, False),
            ("26:31", 28, True),
            ("-3:-1", 26, True),
        ],
    )
    def test_counts_days_of_the_month_from_either_end(self, days: str, day: int, is_muted: bool) -> None:
        muted = route(mute=True, days_of_month=[days], months=["february"])

        assert muted.is_open(datetime(2026, 2, day, 12, tzinfo=UTC)) != is_muted
