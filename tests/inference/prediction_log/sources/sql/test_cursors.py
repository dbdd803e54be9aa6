"""A place in a table, written as text, leads back to the same place."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from inference.prediction_log.sources.sql.cursors import UnusableValue, read_cursor, write_cursor
from inference.prediction_log.sources.sql.nanoseconds import NanosecondTime
from inference.prediction_log.sources.sql.rows import Unreadable


@pytest.mark.parametrize(
    "value",
    [
        2**62 + 1,
        Decimal("1234567890123456789.000000001"),
        "é'\"\\%s",
        datetime(2026, 1, 5, 10, 0, 0, 123456, UTC),
        datetime(2026, 1, 5),
        NanosecondTime.after(datetime(2026, 1, 5, tzinfo=UTC), 7),
        date(2026, 1, 5),
        b"\x00\xff",
    ],
)
def test_a_value_comes_back_exactly(value: Any) -> None:
    assert read_cursor(write_cursor([value, 1])) == [value, 1]


def test_an_id_of_128_bits_is_compared_as_text() -> None:
    assert read_cursor(write_cursor([UUID(int=7)])) == ["00000000-0000-0000-0000-000000000007"]


@pytest.mark.parametrize("value", [1.5, True, None, [1]])
def test_what_has_no_exact_text_is_refused(value: Any) -> None:
    with pytest.raises(UnusableValue, match="cannot be a watermark or a key"):
        write_cursor([value])


def test_a_time_that_no_calendar_of_python_has_is_refused_by_what_it_says() -> None:
    with pytest.raises(UnusableValue, match="'0044-03-15 BC' is no time between the years 1 and 9999"):
        write_cursor([Unreadable("0044-03-15 BC")])
