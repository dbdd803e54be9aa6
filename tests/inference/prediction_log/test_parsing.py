"""Reading batches: the fast way and the slow one agree, and nothing slips through the fast one."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline.common.errors import Problem
from inference.prediction_log import parsing
from inference.prediction_log.items import Batch, ItemFault, PredictionItem
from inference.prediction_log.parsing import parse_labels, parse_predictions

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1)
features = st.dictionaries(
    st.text('abc:"\\{é', min_size=1, max_size=5), numbers | st.booleans() | st.none() | texts, max_size=6
)
predictions = st.fixed_dictionaries(
    {
        "id": st.text("ab:12", min_size=1, max_size=9),
        "timestamp": st.sampled_from(["2026-05-01T11:00:00Z", "2026-05-01T13:30:00.25+02:00"]),
        "version": st.sampled_from(["1", "v2.1"]),
        "features": features,
        "prediction": st.sampled_from(["late", "1", 0, 1.0, True]),
    },
    optional={
        "probabilities": st.sampled_from([None, 0.25, {"late": 0.25, "1": 0.75}]),
        "latency_ms": st.sampled_from([None, 0, 2.5]),
        "role": st.sampled_from([None, "champion", "shadow"]),
        "subject": st.sampled_from([None, "someone"]),
        "tags": st.sampled_from([None, {}, {"a:b": "c:d"}]),
    },
)


def read(body: bytes, *, lines: bool = False, task: str = "binary") -> Batch[PredictionItem]:
    return parse_predictions(body, lines=lines, task=task, now=NOW)


def read_slowly(body: bytes, *, lines: bool = False) -> Batch[PredictionItem]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing, "_read_fast", lambda *_, **__: None)
        return read(body, lines=lines)


def one(**changes: Any) -> dict[str, Any]:
    item = {
        "id": "a",
        "timestamp": "2026-05-01T11:00:00Z",
        "version": "1",
        "features": {"x": 1},
        "prediction": "1",
    }
    return item | changes


@given(st.lists(predictions, min_size=1, max_size=4))
def test_the_slow_way_reads_what_the_fast_way_reads(items: list[dict[str, Any]]) -> None:
    body = orjson.dumps({"predictions": items})
    lines = b"\n".join(map(orjson.dumps, items))

    assert read(body) == read_slowly(body) == read(lines, lines=True) == read_slowly(lines, lines=True)
    assert all(isinstance(item, PredictionItem) for item in read(body).items)


@given(st.lists(predictions, min_size=1, max_size=3))
def test_a_valid_batch_is_read_the_fast_way(items: list[dict[str, Any]]) -> None:
    body = orjson.dumps({"predictions": items, "sent_at": "2026-05-01T12:00:00Z"})

    assert parsing._read_fast(body, parsing._PREDICTIONS, lines=False) is not None


@given(st.lists(predictions, min_size=1, max_size=3), st.data())
def test_a_key_given_twice_is_always_found(items: list[dict[str, Any]], data: st.DataObject) -> None:
    body = orjson.dumps({"predictions": items})
    key = data.draw(st.sampled_from(["predictions", "id", "features", "version"]))
    place = body.index(b'"%s":' % key.encode())
    spelling = data.draw(st.sampled_from([b'"%s":0,', b'"%s" :"::",', b'"%s"\n: null,']))
    doubled = body[:place] + spelling % key.encode() + body[place:]

    with pytest.raises(Problem) as refused:
        read(doubled)

    assert refused.value.code == "duplicate_key"


def test_a_double_key_does_not_hide_behind_an_escaped_colon() -> None:
    item = orjson.dumps(one()).replace(b'"x":1', b'"x":1,"x":2,"y":"\\u003a"')

    with pytest.raises(Problem, match="twice"):
        read(b'{"predictions":[%s]}' % item)


class TestMeaning:
    @pytest.mark.parametrize(
        ("sent", "kept"),
        [("1", "1"), (1, "1"), (1.0, "1"), (True, "1"), ("on time", "on time"), (0.5, "0.5")],
    )
    def test_a_class_is_its_text(self, sent: Any, kept: str) -> None:
        item = only(read(orjson.dumps({"predictions": [one(prediction=sent)]})))

        assert item.prediction == kept

    @pytest.mark.parametrize("sent", ["1", True])
    def test_a_regression_predicts_numbers(self, sent: Any) -> None:
        (item,) = read(orjson.dumps({"predictions": [one(prediction=sent)]}), task="regression").items

        assert isinstance(item, ItemFault)
        assert item.code == "invalid_prediction"

    def test_a_probability_may_be_off_by_rounding(self) -> None:
        item = only(read(orjson.dumps({"predictions": [one(probabilities={"1": 1.0000001, "0": 0})]})))

        assert item.probabilities == {"1": 1.0, "0": 0.0}

    def test_one_number_is_no_answer_of_three_classes(self) -> None:
        (item,) = read(orjson.dumps({"predictions": [one(probabilities=0.5)]}), task="multiclass").items

        assert isinstance(item, ItemFault)
        assert item.code == "invalid_probability"

    def test_a_zone_is_turned_into_utc(self) -> None:
        item = only(read(orjson.dumps({"predictions": [one(timestamp="2026-05-01T13:30:00+02:00")]})))

        assert item.timestamp == datetime(2026, 5, 1, 11, 30, tzinfo=UTC)

    def test_the_body_hash_tells_items_apart_by_what_was_sent(self) -> None:
        same = [one(), dict(reversed(one().items()))]
        other = one(features={"x": 2})

        hashes = [only(read(orjson.dumps({"predictions": [item]}))).body_hash for item in (*same, other)]

        assert hashes[0] == hashes[1] != hashes[2]
        assert all(0 <= value < 2**63 for value in hashes)

    def test_a_clock_that_is_behind_is_corrected_and_the_hash_is_not(self) -> None:
        plain = orjson.dumps({"predictions": [one()]})
        skewed = orjson.dumps({"predictions": [one()], "sent_at": "2026-05-01T11:30:00Z"})

        corrected = only(read(skewed))

        assert corrected.timestamp == datetime(2026, 5, 1, 11, 30, tzinfo=UTC)
        assert corrected.body_hash == only(read(plain)).body_hash


def only(batch: Batch[PredictionItem]) -> PredictionItem:
    (item,) = batch.items
    assert isinstance(item, PredictionItem), item
    return item


def labels(*items: Any, task: str = "binary") -> list[Any]:
    return parse_labels(orjson.dumps({"labels": list(items)}), lines=False, task=task, now=NOW).items


class TestLabels:
    def test_carry_the_text_of_their_class(self) -> None:
        assert [label.label for label in labels({"id": "a", "label": 1}, {"id": "b", "label": "late"})] == [
            "1",
            "late",
        ]

    def test_of_a_regression_may_be_numbers_in_text(self) -> None:
        assert [label.label for label in labels({"id": "a", "label": "1.5"}, task="regression")] == ["1.5"]


@pytest.mark.parametrize("reader", [parse_predictions, parse_labels])
@given(body=st.binary(max_size=100), lines=st.booleans())
def test_any_bytes_are_items_or_a_problem(
    reader: Callable[..., Batch[Any]], body: bytes, lines: bool
) -> None:
    try:
        items = reader(body, lines=lines, task="binary", now=NOW).items
    except Problem:
        return

    assert all(isinstance(item, ItemFault) for item in items)
