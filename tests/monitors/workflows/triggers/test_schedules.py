"""Schedules in words of cron: due when a person in that zone expects it, through both changes of the clocks."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.workflows.triggers.schedules import BadSchedule, Schedule

BERLIN = "Europe/Berlin"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "zone", "after", "due"),
    [
        pytest.param("0 3 * * 1", "UTC", "2026-11-28 12:00", "2026-11-30 03:00", id="Mondays"),
        pytest.param("0 3 * * 1", BERLIN, "2026-11-28 12:00", "2026-11-30 02:00", id="Mondays in Berlin"),
        pytest.param("*/15 * * * *", "UTC", "2026-11-28 12:00", "2026-11-28 12:15", id="each quarter"),
        pytest.param("0 0 1 * *", "UTC", "2026-11-28 12:00", "2026-12-01 00:00", id="first of the month"),
        pytest.param("0 0 29 2 *", "UTC", "2026-11-28 12:00", "2028-02-29 00:00", id="leap day"),
        pytest.param("0 0 * * 6-7", "UTC", "2026-11-28 12:00", "2026-11-29 00:00", id="Sunday as 7"),
        pytest.param("0 0 13 * fri", "UTC", "2026-11-28 12:00", "2026-12-04 00:00", id="a 13th or a Friday"),
        pytest.param(
            "30 2 * * *", BERLIN, "2027-03-28 00:00", "2027-03-28 01:30", id="an hour that is skipped"
        ),
        pytest.param(
            "30 2 * * *", BERLIN, "2026-10-25 00:00", "2026-10-25 00:30", id="an hour that comes twice"
        ),
        pytest.param("30 2 * * *", BERLIN, "2026-10-25 00:30", "2026-10-26 01:30", id="once in such a night"),
    ],
)
def test_is_due_next(text: str, zone: str, after: str, due: str) -> None:
    assert Schedule.parse(text, zone).next_after(utc(after)) == utc(due)


@pytest.mark.slow
@given(
    st.sampled_from(["*/7 * * * *", "0 */5 * * *", "5 4 * * 0", "0 12 1,15 * *"]),
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)),
)
def test_is_the_first_minute_that_all_five_fields_name(text: str, moment: datetime) -> None:
    schedule, start = Schedule.parse(text, "UTC"), moment.replace(tzinfo=UTC)

    due = schedule.next_after(start)

    minute = start.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while not is_named(text, minute):
        minute += timedelta(minutes=1)
    assert due == minute


def is_named(text: str, at: datetime) -> bool:
    """Read cron's five fields as its manual does, of the expressions above."""
    values = (at.minute, at.hour, at.day, at.month, at.isoweekday() % 7)
    return all(
        field == "*"
        or (field.startswith("*/") and value % int(field[2:]) == 0)
        or str(value) in field.split(",")
        for field, value in zip(text.split(), values, strict=True)
    )


@given(
    st.sampled_from(["*/7 * * * *", "30 2 * * *"]),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)),
)
def test_never_stands_still_in_any_zone(text: str, zone: str, moment: datetime) -> None:
    start = moment.replace(tzinfo=UTC)

    due = Schedule.parse(text, zone).next_after(start)

    assert due is not None
    assert start < due < start + timedelta(hours=26)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "daily",
        "0 3 * *",
        "0 3 * * 1 2",
        "61 * * * *",
        "0 0 30 2 *",
        "a b c d e",
        "*/0 * * * *",
        "0 " * 60,
    ],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(BadSchedule):
        Schedule.parse(text, "UTC")
