"""What headers say of rows."""

import pytest

from inference.protocol.header_facts import read_header_facts
from inference.protocol.v2.parameters import NO_FACTS, RowFacts
from inference.protocol.v2.tensors import InvalidRequest


def test_say_all_that_parameters_can_say() -> None:
    facts = read_header_facts(
        {
            b"driftline-id": b"order-7",
            b"driftline-timestamp": b"1970-01-01T00:00:01Z",
            b"driftline-tags": '{"route":"Zürich"}'.encode(),
            b"driftline-subject": b"eva",
            b"driftline-timeout": b"1500",
            b"driftline-priority": b"1",
        },
        2,
    )

    assert facts == RowFacts("order-7", [1_000_000] * 2, {"route": "Zürich"}, "eva", 1500, 1)


def test_say_nothing_where_there_are_none() -> None:
    assert read_header_facts({b"accept-encoding": b"gzip"}, 1) is NO_FACTS


def test_give_way_to_parameters() -> None:
    facts = read_header_facts({b"driftline-id": b"a", b"driftline-subject": b"s"}, 1, {"driftline_id": "b"})

    assert (facts.key, facts.subject) == ("b", "s")


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        (b"driftline-id", b"", "1 to 200 printable"),
        (b"driftline-id", b"\xff", "Driftline-Id is not UTF-8"),
        (b"driftline-timestamp", b"yesterday", "not a time with a zone"),
        (b"driftline-timestamp", b'["1970-01-01T00:00:00Z"]', "1 times for 2 rows"),
        (b"driftline-tags", b"{", "not JSON"),
        (b"driftline-subject", b"x" * 201, "1 to 200 printable"),
        (b"driftline-timeout", b"-1", "Driftline-Timeout is '-1'; send a whole number"),
        (b"driftline-timeout", b"9" * 30, "send a whole number"),
        (b"driftline-priority", "²".encode("latin-1"), "send a whole number"),
    ],
)
def test_are_refused_where_they_make_no_sense(name: bytes, value: bytes, part: str) -> None:
    with pytest.raises(InvalidRequest, match=part):
        read_header_facts({name: value}, 2)
