"""Reading batches: the fast way and the slow one agree, and nothing slips through the fast one."""

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline.base.errors import Problem
from inference.prediction_log.ingest import numeric_bodies, parsing
from inference.prediction_log.ingest.parsing import parse_labels, parse_predictions
from inference.prediction_log.items import ItemFault
from inference.prediction_log.rows.sent_columns import PredictionBatch, SentColumns

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1)
vectors = st.lists(st.floats(-1e6, 1e6) | st.integers(-9, 9), min_size=2, max_size=4)
features = st.dictionaries(
    st.text('abc:"\\{é', min_size=1, max_size=5),
    numbers | st.booleans() | st.none() | texts | vectors,
    max_size=6,
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


def read(body: bytes, *, lines: bool = False, task: str = "binary") -> PredictionBatch:
    return parse_predictions(body, lines=lines, task=task, now=NOW)


def read_slowly(body: bytes, *, lines: bool = False) -> PredictionBatch:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing, "_decode", lambda *_, **__: None)
        return read(body, lines=lines)


def plain(batch: PredictionBatch) -> dict[str, Any]:
    """Write a batch so that two of them compare; NaN is None."""
    assert not batch.faults
    columns = {name: getattr(batch.columns, name) for name in SentColumns.__dataclass_fields__}
    columns |= {f"without {name}": mask for name, mask in columns.pop("absent").items()}
    columns |= {f"dimensions of {name}": lengths for name, lengths in columns.pop("dimensions").items()}
    columns |= columns.pop("features")
    return {
        name: None if values is None else [None if value != value else value for value in values.tolist()]
        for name, values in columns.items()
    }


def plain_but_faults(batch: PredictionBatch) -> tuple[dict[str, Any], list[str]]:
    return plain(PredictionBatch(batch.columns)), [fault.code for fault in batch.faults.values()]


def one(**changes: Any) -> dict[str, Any]:
    item = {
        "id": "a",
        "timestamp": "2026-05-01T11:00:00Z",
        "version": "1",
        "features": {"x": 1},
        "prediction": "1",
    }
    return item | changes


@pytest.mark.slow
@given(st.lists(predictions, min_size=1, max_size=4))
def test_the_slow_way_reads_what_the_fast_way_reads(items: list[dict[str, Any]]) -> None:
    body = orjson.dumps({"predictions": items})
    lines = b"\n".join(map(orjson.dumps, items))

    found = plain(read(body))

    assert found == plain(read_slowly(body)) == plain(read(lines, lines=True))
    assert found == plain(read_slowly(lines, lines=True))


@pytest.mark.slow
@given(st.lists(predictions, min_size=2, max_size=4))
def test_an_item_is_hashed_alike_whatever_it_is_sent_with(items: list[dict[str, Any]]) -> None:
    together = read(orjson.dumps({"predictions": items})).columns.body_hash

    alone = [read(orjson.dumps({"predictions": [item]})).columns.body_hash[0] for item in items]

    assert together.tolist() == alone


@pytest.mark.slow
@given(st.lists(predictions, min_size=1, max_size=3))
def test_a_valid_batch_is_read_the_fast_way(items: list[dict[str, Any]]) -> None:
    body = orjson.dumps({"predictions": items, "sent_at": "2026-05-01T12:00:00Z"})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing, "_read", lambda *_, **__: pytest.fail("it was read item by item"))
        read(body)


alike = st.lists(st.text('abc:"é\\', min_size=1, max_size=5), min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.lists(
        st.fixed_dictionaries({name: numbers | st.none() for name in names}), min_size=1, max_size=4
    )
)


@pytest.mark.slow
@given(alike, st.sampled_from([None, 2**63, -(10**25), True, "text"]), st.booleans())
def test_items_of_the_same_numbers_are_read_alike_by_a_decoder_made_for_them(
    items: list[dict[str, Any]], odd: Any, lacks_one: bool
) -> None:
    if odd is not None:
        items[-1] |= {next(iter(items[0])): odd}
    if lacks_one:
        items[-1].popitem()
    sent = [one(id=str(place), features=features) for place, features in enumerate(items)]
    body = json.dumps({"predictions": sent}).encode()
    lines = b"\n".join(json.dumps(item).encode() for item in sent)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numeric_bodies, "_WORTH_A_DECODER", 0)
        found, found_in_lines = plain_but_faults(read(body)), plain_but_faults(read(lines, lines=True))

    assert found == plain_but_faults(read_slowly(body))
    assert found_in_lines == plain_but_faults(read_slowly(lines, lines=True))


def test_a_key_of_many_given_twice_is_found_among_the_same_numbers() -> None:
    items = [one(id=str(place), features={"x": 1.5, "y": place}) for place in range(300)]
    body = orjson.dumps({"predictions": items})
    assert len(body) > numeric_bodies._WORTH_A_DECODER

    with pytest.raises(Problem) as refused:
        read(body.replace(b'"y":299', b'"y":299,"x":3'))

    assert refused.value.code == "duplicate_key"


def test_a_name_that_is_not_utf_8_is_refused_among_many_numbers() -> None:
    items = [one(id=str(place), features={"name": 1.5}) for place in range(300)]

    with pytest.raises(Problem, match="not UTF-8"):
        read(orjson.dumps({"predictions": items}).replace(b'"name"', b'"n\x80me"'))


@pytest.mark.slow
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


def test_an_item_that_nests_too_deep_is_refused_alone() -> None:
    deep = orjson.dumps(one(id="deep")).replace(b'"x":1', b'"x":' + b"[1," * 32 + b"1" + b"]" * 32)

    batch = read(b'{"predictions":[%s,%s]}' % (orjson.dumps(one()), deep))

    assert {index: fault.code for index, fault in batch.faults.items()} == {1: "too_deep"}


@pytest.mark.parametrize(("alone", "beside"), [("", "text"), ("", 0), (0, "text"), (0, ""), (False, "")])
def test_an_empty_value_is_hashed_alike_beside_text_and_alone(alone: Any, beside: Any) -> None:
    item, other = one(features={"x": alone}), one(id="b", features={"x": beside})

    together = read(orjson.dumps({"predictions": [item, other]})).columns.body_hash
    by_itself = read(orjson.dumps({"predictions": [item]})).columns.body_hash

    assert together[0] == by_itself[0] != together[1]


class TestMeaning:
    @pytest.mark.parametrize(
        ("sent", "kept"),
        [("1", "1"), (1, "1"), (1.0, "1"), (True, "1"), ("on time", "on time"), (0.5, "0.5")],
    )
    def test_a_class_is_its_text(self, sent: Any, kept: str) -> None:
        item = only(read(orjson.dumps({"predictions": [one(prediction=sent)]})))

        assert item.predictions[0] == kept

    @pytest.mark.parametrize("sent", ["1", True])
    def test_a_regression_predicts_numbers(self, sent: Any) -> None:
        batch = read(orjson.dumps({"predictions": [one(prediction=sent)]}), task="regression")

        assert batch.faults[0].code == "invalid_prediction"

    def test_a_probability_may_be_off_by_rounding(self) -> None:
        item = only(read(orjson.dumps({"predictions": [one(probabilities={"1": 1.0000001, "0": 0})]})))

        assert item.probabilities is not None
        assert item.probabilities[0] == {"1": 1.0, "0": 0.0}

    def test_one_number_is_no_answer_of_three_classes(self) -> None:
        batch = read(orjson.dumps({"predictions": [one(probabilities=0.5)]}), task="multiclass")

        assert batch.faults[0].code == "invalid_probability"

    def test_a_zone_is_turned_into_utc(self) -> None:
        item = only(read(orjson.dumps({"predictions": [one(timestamp="2026-05-01T13:30:00+02:00")]})))

        assert moment_of(item) == datetime(2026, 5, 1, 11, 30, tzinfo=UTC)

    def test_the_body_hash_tells_items_apart_by_what_was_sent(self) -> None:
        same = [one(), dict(reversed(one().items()))]
        other = one(features={"x": 2})

        hashes = [only(read(orjson.dumps({"predictions": [item]}))).body_hash[0] for item in (*same, other)]

        assert hashes[0] == hashes[1] != hashes[2]
        assert all(0 <= value < 2**63 for value in hashes)

    def test_a_clock_that_is_behind_is_corrected_and_the_hash_is_not(self) -> None:
        unskewed = orjson.dumps({"predictions": [one()]})
        skewed = orjson.dumps({"predictions": [one()], "sent_at": "2026-05-01T11:30:00Z"})

        corrected = only(read(skewed))

        assert moment_of(corrected) == datetime(2026, 5, 1, 11, 30, tzinfo=UTC)
        assert corrected.body_hash[0] == only(read(unskewed)).body_hash[0]


def only(batch: PredictionBatch) -> SentColumns:
    assert not batch.faults
    assert len(batch) == 1
    return batch.columns


def moment_of(item: SentColumns) -> datetime:
    return datetime.fromtimestamp(int(item.times_us[0]) / 1e6, UTC)


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


@given(body=st.binary(max_size=100), lines=st.booleans())
def test_any_bytes_are_faults_or_a_problem(body: bytes, lines: bool) -> None:
    for reader in (parse_predictions, parse_labels):
        with contextlib.suppress(Problem):
            batch = reader(body, lines=lines, task="binary", now=NOW)
            faults = batch.faults.values() if isinstance(batch, PredictionBatch) else batch.items
            assert all(isinstance(fault, ItemFault) for fault in faults)
            assert not isinstance(batch, PredictionBatch) or not len(batch.columns)


@pytest.mark.slow
@pytest.mark.parametrize(("items", "value"), [(1_200, 1.0), (600, [1.0, 2.0])])
def test_items_with_no_names_in_common_are_refused_before_they_fill_the_memory(
    items: int, value: object
) -> None:
    sent = [
        {"id": f"p-{n}", "timestamp": "2026-01-05T10:00:00Z", "version": "1", "prediction": 1.0,
         "features": {f"x{n}-{place}": value for place in range(16)}}
        for n in range(items)
    ]  # fmt: skip

    with pytest.raises(Problem, match="up to 20,000,000 at once") as refused:
        parse_predictions(orjson.dumps({"predictions": sent}), lines=False, task="regression", now=NOW)

    assert (refused.value.status, refused.value.code) == (413, "too_many_values")
