"""The catalogue of bad input: each row gets its answer, in the one shape of problems, and nothing is written."""

from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.db import connection

from driftline.base.clock import now
from driftline.base.periods import rfc3339
from inference.registry.services import create_model
from monitors.rules.services import create_rule
from tests.driftline.api.bad_input import (
    GOOD,
    ITEMS,
    LABELS,
    PREDICTIONS,
    REQUESTS,
    Bad,
    BadItem,
    predictions,
)
from tests.driftline.api.conftest import Api
from tests.driftline.api.shape import assert_problem
from tests.worlds.every_kind import World, furnish

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def api(shared_api: Api) -> Api:
    return shared_api


@pytest.fixture(scope="module")
def world(api: Api) -> World:
    create_model(project=api.project, name="two", task="binary", actor="test")
    world = furnish(api.project)
    create_rule(
        project=api.project, model=world.model, actor="test", name="other", metric="f1", threshold=0.5
    )
    return world


def everything() -> dict[str, int]:
    """Count the rows of every table; `last_used_at` of a token is no row."""
    tables = [name for name in connection.introspection.table_names() if not name.startswith("django_")]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(f"SELECT '{name}', count(*) FROM \"{name}\"" for name in tables))
        return dict(cursor.fetchall())


@pytest.mark.parametrize("bad", REQUESTS, ids=lambda bad: bad.id)
def test_a_bad_request_gets_its_answer_and_writes_nothing(bad: Bad, api: Api, world: World) -> None:
    before = everything()
    path = bad.path.replace("{rule}", str(world.rule.pk)).replace("{report}", str(world.report.pk))

    answer = api.send(bad.method, path, bad.body, **bad.headers)

    problem = assert_problem(answer, bad.status, bad.code)
    assert bad.pointer is None or bad.pointer in [fault["pointer"] for fault in problem["errors"]]
    assert everything() == before


@pytest.mark.parametrize("bad", ITEMS, ids=lambda bad: bad.id)
def test_a_bad_item_is_refused_and_its_neighbours_are_kept(bad: BadItem, api: Api, world: World) -> None:
    items = [GOOD | {"id": "before"}, GOOD | bad.changes, GOOD | {"id": "after"}]

    answer = api.post(PREDICTIONS, predictions(*items))

    assert answer.status_code == 200
    told = answer.json()
    assert [told["accepted"], told["duplicates"], told["rejected"]] == [2, 0, 1]
    assert [result["status"] for result in told["results"]] == ["accepted", "rejected", "accepted"]
    error = told["results"][1]["error"]
    assert (error["code"], error["pointer"]) == (bad.code, f"/predictions/1{bad.pointer}")
    assert len(error["detail"]) < 400


@pytest.mark.parametrize("key", [b'"\\ud800"', b'"x\\udc00"'])
def test_half_a_surrogate_pair_in_a_name_is_refused(key: bytes, api: Api, world: World) -> None:
    body = predictions(GOOD | {"features": {"HERE": 1}}).replace(b'"HERE"', key)

    told = api.post(PREDICTIONS, body).json()

    assert told["results"][0]["error"]["code"] == "invalid_text"


def test_a_number_of_5000_digits_is_refused(api: Api, world: World) -> None:
    before = everything()
    body = predictions(GOOD | {"features": {"a": 1}}, GOOD | {"id": "after"}).replace(
        b":1}", b":" + b"9" * 5_000 + b"}"
    )

    answer = api.post(PREDICTIONS, body)

    told = answer.json()
    assert told["results"][0]["error"]["code"] == "number_out_of_range"
    assert [result["status"] for result in told["results"]] == ["rejected", "accepted"]
    assert everything()["inference_predictionrow"] == before["inference_predictionrow"] + 1


@pytest.mark.parametrize("minutes", [9, 11])
def test_ten_minutes_ahead_are_borne(minutes: int, api: Api, world: World) -> None:
    ahead = rfc3339(now() + timedelta(minutes=minutes))

    [result] = api.post(PREDICTIONS, predictions(GOOD | {"timestamp": ahead})).json()["results"]

    assert result["status"] == ("accepted" if minutes < 10 else "rejected")
    assert minutes < 10 or result["error"]["code"] == "timestamp_out_of_window"


def test_one_bad_item_among_500_is_named_by_its_place(api: Api, world: World) -> None:
    items = [GOOD | {"id": f"n{number}"} for number in range(500)]
    items[17] = items[17] | {"features": {"a": [41]}}

    told = api.post(PREDICTIONS, predictions(*items)).json()

    assert (told["accepted"], told["rejected"]) == (499, 1)
    assert told["results"][17]["error"]["pointer"] == "/predictions/17/features/a"


class TestOddButGood:
    """What looks wrong and is kept, as it was sent."""

    @pytest.mark.parametrize(
        "features",
        [
            {"a": None},
            {"a": "text where a number was before"},
            {},
            {"never seen": 1},
            {"__proto__": "x", "constructor": 1},
            {"<img src=x onerror=alert(1)>": "{{7*7}}"},
            {"a": True},
            {"a": -0.0, "b": 5e-324, "c": 1.7976931348623157e308, "d": 2**53},
        ],
        ids=str,
    )
    def test_features_come_back_as_they_were(self, features: dict[str, Any], api: Api, world: World) -> None:
        told = api.post(PREDICTIONS, predictions(GOOD | {"features": features})).json()

        assert told["accepted"] == 1
        kept = api.get(f"{PREDICTIONS}/new").json()["features"]
        assert {name: kept.get(name) for name in features} == features

    @pytest.mark.parametrize(
        "probabilities", [1.0000001, -0.0, 0, 1, {"0": 0.30000004, "1": 0.7}, {"0": 0, "1": 1}], ids=str
    )
    def test_a_probability_may_be_off_by_rounding(self, probabilities: Any, api: Api, world: World) -> None:
        told = api.post(PREDICTIONS, predictions(GOOD | {"probabilities": probabilities})).json()

        assert told["accepted"] == 1, told

    def test_a_model_of_others_looks_like_one_that_is_not_there(
        self, api: Api, stranger: Api, world: World
    ) -> None:
        answers = [
            stranger.post(PREDICTIONS, predictions(GOOD)).json(),
            stranger.post(PREDICTIONS.replace("flights", "none"), predictions(GOOD)).json(),
        ]

        theirs, none = ({**answer, "instance": ""} for answer in answers)
        assert theirs == none
        assert theirs["code"] == "model_not_found"


@pytest.mark.parametrize("surrogate", [b'"\\ud800"', b'"\\udfff\\ud800"'])
def test_half_a_surrogate_pair_is_refused(surrogate: bytes, api: Api, world: World) -> None:
    body = predictions(GOOD | {"features": {"a": "HERE"}}).replace(b'"HERE"', surrogate)

    told = api.post(PREDICTIONS, body).json()

    assert told["results"][0]["error"]["code"] == "invalid_text"


def test_a_bad_line_does_not_spoil_the_others(api: Api, world: World) -> None:
    good = predictions(GOOD).removeprefix(b'{"predictions":[').removesuffix(b"]}")
    body = good + b"\n{\n\n" + good.replace(b'"new"', b'"newer"') + b"\n"

    told = api.post(PREDICTIONS, body, content_type="application/x-ndjson").json()

    assert [result["status"] for result in told["results"]] == ["accepted", "rejected", "accepted"]
    assert told["results"][1]["error"]["code"] == "malformed_json"
    assert told["results"][1]["error"]["pointer"] == "/1"


class TestRepetition:
    def test_of_an_item_in_one_request_is_a_duplicate(self, api: Api, world: World) -> None:
        told = api.post(PREDICTIONS, predictions(GOOD, GOOD)).json()

        assert [result["status"] for result in told["results"]] == ["accepted", "duplicate"]

    def test_of_an_id_with_another_body_is_a_conflict(self, api: Api, world: World) -> None:
        told = api.post(PREDICTIONS, predictions(GOOD, GOOD | {"prediction": "0"})).json()

        assert [result["status"] for result in told["results"]] == ["accepted", "conflict"]

    def test_of_a_request_changes_nothing(self, api: Api, world: World) -> None:
        api.post(PREDICTIONS, predictions(GOOD))
        before = everything()

        told = api.post(PREDICTIONS, predictions(GOOD)).json()

        assert (told["accepted"], told["duplicates"]) == (0, 1)
        assert everything() == before

    def test_is_found_whichever_way_it_was_written(self, api: Api, world: World) -> None:
        api.post(PREDICTIONS, predictions(GOOD))
        line = predictions(GOOD).removeprefix(b'{"predictions":[').removesuffix(b"]}")
        reordered = predictions(dict(reversed(GOOD.items())))

        told = [
            api.post(PREDICTIONS, line, content_type="application/x-ndjson").json(),
            api.post(PREDICTIONS, reordered).json(),
            api.post(PREDICTIONS, orjson.dumps({"predictions": [GOOD]}, option=orjson.OPT_INDENT_2)).json(),
        ]

        assert [answer["duplicates"] for answer in told] == [1, 1, 1]


class TestLabels:
    @pytest.mark.parametrize(
        ("label", "code", "pointer"),
        [
            ({"id": "p1"}, "missing_field", "/label"),
            ({"id": "", "label": 1}, "invalid_id", "/id"),
            ({"id": "p1", "label": None}, "wrong_type", "/label"),
            ({"id": "p1", "label": ""}, "invalid_label", "/label"),
            ({"id": "p1", "label": 1, "timestamp": "soon"}, "invalid_timestamp", "/timestamp"),
            ({"id": "p1", "label": 1, "weight": 2}, "unknown_field", "/weight"),
            ("p1", "wrong_type", ""),
        ],
    )
    def test_refuses_a_bad_one(self, label: Any, code: str, pointer: str, api: Api, world: World) -> None:
        told = api.post(LABELS, {"labels": [label]}).json()

        error = told["results"][0]["error"]
        assert (error["code"], error["pointer"]) == (code, f"/labels/0{pointer}")

    @pytest.mark.parametrize("label", ["late", True, "nan", "inf"])
    def test_of_a_regression_are_numbers(self, label: Any, api: Api) -> None:
        create_model(project=api.project, name="delay", task="regression", actor="test")

        told = api.post("/models/delay/labels", {"labels": [{"id": "p1", "label": label}]}).json()

        assert told["results"][0]["error"]["code"] == "label_type_mismatch"

    def test_wait_for_their_prediction(self, api: Api, world: World) -> None:
        told = api.post(LABELS, {"labels": [{"id": "new", "label": 1}]}).json()

        assert (told["accepted"], told["results"][0]["status"]) == (1, "pending_prediction")
        api.post(PREDICTIONS, predictions(GOOD))
        assert api.get(f"{PREDICTIONS}/new").json()["labels"][0]["value"] == "1"

    def test_can_be_corrected_and_repeated(self, api: Api, world: World) -> None:
        sent = [0, 0, 1]

        statuses = [
            api.post(LABELS, {"labels": [{"id": "p1", "label": label}]}).json()["results"][0]["status"]
            for label in sent
        ]

        assert statuses == ["accepted", "duplicate", "superseded"]


class TestClocks:
    def test_that_differ_by_hours_are_corrected(self, api: Api, world: World) -> None:
        body = {
            "predictions": [GOOD | {"timestamp": "2026-01-01T00:00:00Z"}],
            "sent_at": "2026-01-01T00:00:01Z",
        }

        answer = api.post(PREDICTIONS, body).json()

        assert (answer["accepted"], answer["warnings"][0]["code"]) == (1, "clock_skew")
        assert api.get(f"{PREDICTIONS}/new").json()["timestamp"] > "2026-01-02"

    def test_that_agree_are_left_alone(self, api: Api, world: World) -> None:
        answer = api.post(PREDICTIONS, {"predictions": [GOOD], "sent_at": rfc3339(now())}).json()

        assert "warnings" not in answer
