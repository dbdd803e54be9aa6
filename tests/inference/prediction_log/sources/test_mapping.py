"""A mapping makes items of the logging API of whatever JSON a message holds."""

from typing import Any

import msgspec
import orjson
import pytest

from inference.prediction_log.rows.sent_items import Refused
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.reading.envelopes import reader_of
from inference.prediction_log.sources.reading.messages import TOPIC_HEADER, StreamMessage

MOMENT_US = 1_700_000_000_000_000
MOMENT = "2023-11-14T22:13:20Z"


def item(
    value: Any, what: str = "predictions", *, key: bytes | None = None, **mapping: Any
) -> dict[str, Any]:
    """What a message becomes."""
    message = StreamMessage(partition="t/0", offset=5, value=orjson.dumps(value), key=key, time_us=MOMENT_US)
    return msgspec.json.decode(reader_of(SourceMapping(**mapping), what)(message))


def test_usual_names_are_found_without_paths() -> None:
    value = {
        "prediction_id": 7,
        "event_time": MOMENT,
        "model_version": 3,
        "inputs": {"a": 1},
        "score": 0.9,
        "output": 1,
    }

    assert item(value) == {
        "id": "7",
        "timestamp": MOMENT,
        "version": "3",
        "features": {"a": 1},
        "prediction": 1,
        "probabilities": 0.9,
    }


def test_fields_beside_the_others_are_features_where_no_object_holds_them() -> None:
    value = {"id": "a", "prediction": 1, "version": "1", "income": 3, "home": None, "meta": {"trace": "x"}}

    assert item(value)["features"] == {"income": 3, "home": None}


def test_a_list_beside_the_others_is_a_vector_where_its_path_is_named_alone() -> None:
    value = {"id": "a", "prediction": 1, "version": "1", "photo": [0.5, -1, 2.25], "scores": [0.5, None]}

    assert item(value)["features"] == {}
    assert item(value, feature_paths={"photo": "photo"})["features"] == {"photo": [0.5, -1, 2.25]}


@pytest.mark.parametrize("what", ["predictions", "labels"])
def test_an_id_that_comes_as_floating_point_is_that_of_the_whole_number(what: str) -> None:
    value = {"id": 12345.0, "subject": 7.0, "label": 1, "version": 1.0, "prediction": 1}

    found = item(value, what)

    assert found["id"] == "12345"
    assert (found.get("subject"), found.get("version")) == (
        ("7", "1.0") if what == "predictions" else (None,) * 2
    )


@pytest.mark.parametrize(
    ("cell", "value"),
    [(".5", 0.5), ("-.5", -0.5), ("5.", 5), ("+49", "+49"), (" 4.5 ", 4.5), (" True", True)]
    + [(text, text) for text in ("007", " north", ".", "1,5", "1_000")],
)
def test_a_cell_of_csv_that_looks_like_a_number_is_one(cell: str, value: Any) -> None:
    message = StreamMessage("t/0", 5, orjson.dumps({"income": cell}), has_text_cells=True)

    assert msgspec.json.decode(reader_of(SourceMapping(), "predictions")(message))["features"] == {
        "income": value
    }


def test_a_field_that_is_named_and_empty_in_a_message_is_no_feature_of_it() -> None:
    value = {"id": "a", "prediction": 1, "version": "1", "income": 3, "p": None, "latency_ms": None}

    assert item(value, probabilities="p")["features"] == {"income": 3}


def test_a_named_key_with_dots_is_no_feature() -> None:
    value = {
        "id": "a",
        "answer.class": 1,
        "answer.score": 0.9,
        "outcome.paid": 1,
        "home.region": "n",
        "in.a": 3,
    }

    found = item(
        value, prediction="answer.class", probabilities="answer.score", label="outcome.paid",
        tags={"region": "home.region"}, default_version="1",
    )  # fmt: skip

    assert (found["prediction"], found["probabilities"], found["tags"]) == (1, 0.9, {"region": "n"})
    assert found["features"] == {"in.a": 3}


def test_labels_and_the_fields_of_its_place_are_no_features_of_a_row() -> None:
    value = {"id": "a", "prediction": 1, "version": "1", "income": 3, "seen": MOMENT, "outcome": 1, "paid": 0}
    message = StreamMessage("t/0", 5, orjson.dumps(value), time_us=MOMENT_US, place_fields=("seen", "id"))

    guessed, named = (
        msgspec.json.decode(reader_of(SourceMapping(label=label), "predictions")(message))["features"]
        for label in ("", "paid")
    )

    assert guessed == {"income": 3, "paid": 0}
    assert named == {"income": 3, "outcome": 1}


def test_a_label_of_mqtt_without_an_id_has_none_and_a_prediction_that_of_its_content() -> None:
    message = StreamMessage("t", 5, b'{"label": 1}', key=b"content", headers={TOPIC_HEADER: "ovens/1"})

    label, prediction = (
        msgspec.json.decode(reader_of(SourceMapping(), what)(message)) for what in ("labels", "predictions")
    )

    assert "id" not in label
    assert prediction["id"] == "content"


def test_paths_lead_into_objects_and_lists() -> None:
    value = {
        "header": {"ids": ["x", "a"], "dotted.name": "2"},
        "body": {"customer": {"income": 3, "region": "north"}, "answer": "yes"},
    }

    assert item(
        value,
        id="header.ids.1",
        timestamp="$time",
        prediction="body.answer",
        features="body.customer",
        tags={"region": "body.customer.region", "missing": "body.nothing"},
        default_version="4",
    ) == {
        "id": "a",
        "timestamp": MOMENT,
        "prediction": "yes",
        "features": {"income": 3, "region": "north"},
        "tags": {"region": "north"},
        "version": "4",
    }


@pytest.mark.parametrize(
    "value", [{"id": "a", "answer": 1}, {"id": "a", "body": None}, {"id": "a", "body": "x"}]
)
def test_a_path_of_features_that_leads_to_no_object_gives_the_reader_something_to_refuse(
    value: dict[str, Any],
) -> None:
    assert item(value, features="body").get("features") == ("x" if value.get("body") else None)


def test_features_have_paths_of_their_own() -> None:
    value = {"id": "a", "x": {"age": 30}, "prediction": 1, "version": "1"}

    assert item(value, feature_paths={"age": "x.age", "income": "x.income"})["features"] == {
        "age": 30,
        "income": None,
    }


def test_a_key_with_dots_is_found_before_a_path() -> None:
    assert item({"a.b": "whole", "a": {"b": "parts"}}, id="a.b")["id"] == "whole"


def test_the_message_itself_gives_an_id() -> None:
    assert item({"prediction": 1}, key=b"k-1")["id"] == "k-1"
    assert item({"prediction": 1}, id="$position")["id"] == "t/0:5"


@pytest.mark.parametrize(
    "time", [1_700_000_000, 1_700_000_000_000, MOMENT_US, MOMENT_US * 1000, 1_700_000_000.0]
)
def test_a_time_is_a_number_of_seconds_or_less(time: float) -> None:
    assert item({"ts": time})["timestamp"] == MOMENT


def test_a_label_is_read_under_its_usual_names() -> None:
    value = {"id": "a", "actual": False, "time": MOMENT, "other": 1}

    assert item(value, "labels") == {"id": "a", "label": False, "timestamp": MOMENT}


def test_what_is_missing_is_left_out_for_the_reader_to_name() -> None:
    assert item({"income": 1}) == {"timestamp": MOMENT, "features": {"income": 1}}


@pytest.mark.parametrize("value", [[1], "text", 7, None])
def test_what_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(Refused, match="must be a JSON object"):
        item(value)


def test_long_integers_are_exact_as_ids_and_else_floating_point() -> None:
    number = 10**37 + 1
    message = StreamMessage("t/0", 5, msgspec.json.encode({"id": number, "wei": number, "label": number}))

    read = msgspec.json.decode(reader_of(SourceMapping(default_version="1"), "predictions")(message))
    labelled = msgspec.json.decode(reader_of(SourceMapping(), "labels")(message))

    assert read["id"] == labelled["id"] == str(number)
    assert read["features"]["wei"] == labelled["label"] == 1e37
