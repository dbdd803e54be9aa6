"""The driftline_... parameters of a request."""

import json
import re
from typing import Any

import pytest

from inference.protocol.v2.parameters import (
    NO_FACTS,
    EventTimeRefused,
    RowFacts,
    check_event_times,
    format_time,
    parse_time,
    read_parameters,
)
from inference.protocol.v2.tensors import InvalidRequest

NOON_US = 1_800_000_000_000_000
MINUTE_US = 60_000_000


class TestTimes:
    @pytest.mark.parametrize(
        ("text", "microseconds"),
        [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01t00:00:01.5z", 1_500_000),
            ("1970-01-01 01:00:00+01:00", 0),
            ("2013-10-01T05:00:00.123456-04:00", 1_380_618_000_123_456),
        ],
    )
    def test_reads_rfc_3339(self, text: str, microseconds: int) -> None:
        assert parse_time(text) == microseconds
        assert parse_time(format_time(microseconds)) == microseconds

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "2024-02-30T00:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01",
            "1700000000",
            "2024-01-01T00:00:60Z",
            "0000-01-01T00:00:00Z",
        ],
    )
    def test_refuses_what_is_no_time_with_a_zone(self, text: str) -> None:
        with pytest.raises(InvalidRequest, match="driftline_timestamp"):
            read_parameters({"driftline_timestamp": text}, 1)


class TestReadParameters:
    @pytest.mark.parametrize("parameters", [False, 0, "", [], "text"])
    def test_refuses_what_is_no_object_though_it_be_empty(self, parameters: object) -> None:
        with pytest.raises(InvalidRequest, match="send an object"):
            read_parameters(parameters, 1)

    @pytest.mark.parametrize("parameters", [None, {}])
    def test_takes_none_at_all(self, parameters: object) -> None:
        assert read_parameters(parameters, 1) == NO_FACTS

    def test_takes_one_time_for_all_rows_or_one_a_row(self) -> None:
        both = json.dumps(["1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z"])

        assert read_parameters({"driftline_timestamp": "1970-01-01T00:00:01Z"}, 2).event_times_us == [
            10**6,
            10**6,
        ]
        assert read_parameters({"driftline_timestamp": both}, 2).event_times_us == [0, 10**6]

    def test_takes_key_tags_and_subject(self) -> None:
        facts = read_parameters(
            {"driftline_id": "k", "driftline_tags": '{"region":"north"}', "driftline_subject": "s"}, 1
        )

        assert facts == RowFacts("k", None, {"region": "north"}, "s")

    def test_reads_how_long_the_caller_waits_and_how_urgent_it_is(self) -> None:
        facts = read_parameters({"timeout": 250_000, "priority": 1}, 1)

        assert (facts.timeout_us, facts.priority) == (250_000, 1)

    def test_takes_zero_as_the_protocols_way_to_ask_for_the_usual(self) -> None:
        assert read_parameters({"timeout": 0, "priority": 0}, 1) == RowFacts()

    @pytest.mark.parametrize(
        ("name", "value", "part"),
        [
            ("driftline_timestamp", '["1970-01-01T00:00:00Z"]', "1 times for 2 rows"),
            ("driftline_timestamp", "[", "not JSON"),
            ("driftline_timestamp", "[7]", "driftline_timestamp does not hold"),
            ("driftline_timestamp", 7, "send a time"),
            ("driftline_tags", "[]", "driftline_tags does not hold"),
            ("driftline_tags", '{"a":1}', "driftline_tags does not hold"),
            ("driftline_tags", '{"a":"b","a":"c"}', "comes twice"),
            ("driftline_tags", '{"a":"\\u0000"}', "NUL"),
            ("driftline_tags", '{"":"b"}', "empty or longer"),
            ("driftline_tags", {"a": "b"}, "JSON object in a string"),
            ("driftline_id", "", "1 to 200 printable"),
            ("driftline_id", "x" * 201, "1 to 200 printable"),
            ("driftline_id", "a\nb", "1 to 200 printable"),
            ("driftline_subject", 7, "1 to 200 printable"),
            ("timeout", -1, "timeout is -1; send a whole number (microseconds)"),
            ("timeout", 2**63, "send a whole number"),
            ("timeout", 1.5, "send a whole number"),
            ("timeout", "1000", "send a whole number"),
            ("priority", True, "priority is true; send a whole number"),
            ("priority", -1, "1 for the most urgent"),
        ],
    )
    def test_refuses_with_a_sentence(self, name: str, value: Any, part: str) -> None:
        with pytest.raises(InvalidRequest, match=re.escape(part)):
            read_parameters({name: value}, 2)

    def test_refuses_parameters_that_are_no_object(self) -> None:
        with pytest.raises(InvalidRequest, match="send an object"):
            read_parameters([1], 1)


class TestCheckEventTimes:
    def test_lets_ten_minutes_pass_either_way(self) -> None:
        facts = RowFacts(event_times_us=[NOON_US - 9 * MINUTE_US, NOON_US + 9 * MINUTE_US])

        check_event_times(facts, NOON_US, may_backfill=False)

    def test_lets_older_times_pass_with_backfill_alone(self) -> None:
        facts = RowFacts(event_times_us=[0])

        check_event_times(facts, NOON_US, may_backfill=True)
        with pytest.raises(EventTimeRefused, match="backfill"):
            check_event_times(facts, NOON_US, may_backfill=False)

    def test_never_lets_a_later_time_pass(self) -> None:
        facts = RowFacts(event_times_us=[NOON_US, NOON_US + 11 * MINUTE_US])

        with pytest.raises(InvalidRequest, match="ahead"):
            check_event_times(facts, NOON_US, may_backfill=True)
