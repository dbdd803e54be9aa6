from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from driftline.base.periods import (
    Period,
    earlier,
    end_of,
    floor,
    following,
    is_span,
    parse_moment,
    parse_timestamp,
    rfc3339,
    windows,
    windows_with,
)

NOON = datetime(2026, 3, 31, 12, 30, tzinfo=UTC)


class TestFloor:
    @pytest.mark.parametrize(
        ("step", "start"),
        [
            ("hour", datetime(2026, 3, 31, 12, tzinfo=UTC)),
            ("day", datetime(2026, 3, 31, tzinfo=UTC)),
            ("week", datetime(2026, 3, 30, tzinfo=UTC)),
            ("month", datetime(2026, 3, 1, tzinfo=UTC)),
        ],
    )
    def test_gives_the_start_of_the_window(self, step: str, start: datetime) -> None:
        assert floor(NOON, step) == start

    def test_counts_in_utc_whatever_the_zone(self) -> None:
        evening_in_new_york = datetime.fromisoformat("2026-03-31T21:00:00-04:00")

        assert floor(evening_in_new_york, "day") == datetime(2026, 4, 1, tzinfo=UTC)


def test_windows_touch_and_never_overlap() -> None:
    found = list(windows(Period(NOON, NOON + timedelta(days=70)), "month"))

    assert [window.start.month for window in found] == [3, 4, 5, 6]
    assert all(before.end == after.start for before, after in pairwise(found))
    assert following(found[0].start, "month") == found[1].start


class TestRollingWindows:
    def test_end_with_each_day_and_step_by_one(self) -> None:
        found = list(windows(Period(NOON, NOON + timedelta(days=2)), "7d"))

        assert [window.end for window in found] == [datetime(2026, 4, day, tzinfo=UTC) for day in (1, 2, 3)]
        assert {window.length for window in found} == {timedelta(days=7)}

    def test_hold_a_day_as_often_as_they_are_long(self) -> None:
        starts = list(windows_with(NOON, "3d"))

        assert starts == [datetime(2026, 3, day, tzinfo=UTC) for day in (29, 30, 31)]
        assert all(NOON in Period(start, end_of(start, "3d")) for start in starts)

    @pytest.mark.parametrize(
        ("text", "is_one"),
        [("2d", True), ("90d", True), ("1d", False), ("91d", False), ("07d", False), ("7", False)],
    )
    def test_have_two_to_ninety_days(self, text: str, is_one: bool) -> None:
        assert is_span(text) is is_one


@pytest.mark.parametrize(
    ("span", "start"),
    [
        ("hour", NOON - timedelta(hours=2)),
        ("week", NOON - timedelta(weeks=2)),
        ("month", datetime(2026, 1, 31, 12, 30, tzinfo=UTC)),
        ("28d", NOON - timedelta(days=2)),
    ],
)
def test_earlier_goes_back_by_windows(span: str, start: datetime) -> None:
    assert earlier(NOON, span, 2) == start


class TestParsing:
    @pytest.mark.parametrize(
        "text", ["2026-03-31T12:30:00", "2024-02-30T00:00:00Z", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z",
                 "1767225600000", "yesterday", "", "2026-03-31"],
    )  # fmt: skip
    def test_refuses_what_is_no_zoned_time(self, text: str) -> None:
        with pytest.raises(ValueError):
            parse_timestamp(text)

    def test_reads_what_it_writes(self) -> None:
        assert parse_timestamp(rfc3339(NOON)) == NOON

    def test_reads_distances_back_from_now(self) -> None:
        assert parse_moment("-7d", now=NOON) == NOON - timedelta(days=7)
