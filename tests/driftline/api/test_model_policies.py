"""What a model's own settings refuse: features under a strict schema, and rows that it would not keep."""

from datetime import timedelta
from typing import Any

import pytest

from driftline.base.clock import now
from driftline.base.periods import rfc3339
from inference.prediction_log.models import PredictionChunk
from inference.registry.models import Model, Version
from tests.driftline.api.conftest import Api

PATH = "/models/flights/predictions"


def item(id_: str, features: dict[str, Any], *, age: timedelta = timedelta(hours=1)) -> dict[str, Any]:
    moment = rfc3339(now() - age)
    return {"id": id_, "timestamp": moment, "version": "1", "features": features, "prediction": 1}


def faults(answer: Any) -> list[tuple[str, str, str]]:
    return [
        (found["id"], found["error"]["code"], found["error"]["pointer"])
        for found in answer.json()["results"]
        if "error" in found
    ]


@pytest.fixture
def declared(flights: Model) -> Version:
    """A version that declares a number and a text."""
    features = [{"name": "age", "type": "float32"}, {"name": "carrier", "type": "string"}]
    signature = {
        "features": features,
        "inputs": [],
        "outputs": [],
        "prediction_output": None,
        "probabilities_output": None,
        "classes": ["0", "1"],
        "positive_class": "1",
        "missing": {},
        "task": "binary",
    }
    return Version.objects.create(model=flights, version="1", signature=signature)


MIXED = [
    item("right", {"age": 3, "carrier": "AA"}),
    item("empty", {"age": None, "carrier": "AA"}),
    item("more", {"age": 3, "carrier": "AA", "gate": 7}),
    item("more-empty", {"age": 3, "carrier": "AA", "gate": None}),
    item("less", {"age": 3}),
    item("other", {"age": "three", "carrier": "AA"}),
]


@pytest.mark.parametrize("order", [MIXED, MIXED[::-1]])
def test_a_strict_model_refuses_items_with_other_features(
    api: Api, declared: Version, order: list[dict[str, Any]]
) -> None:
    changed = api.send("PATCH", "/models/flights", {"schema_policy": "strict"})

    answer = api.post(PATH, {"predictions": order})

    assert changed.json()["schema_policy"] == "strict"
    places = {given["id"]: place for place, given in enumerate(order)}
    assert sorted(faults(answer)) == [
        ("less", "missing_feature", f"/predictions/{places['less']}/features/carrier"),
        ("more", "unknown_feature", f"/predictions/{places['more']}/features/gate"),
        ("more-empty", "unknown_feature", f"/predictions/{places['more-empty']}/features/gate"),
        ("other", "wrong_type", f"/predictions/{places['other']}/features/age"),
    ]
    assert answer.json()["accepted"] == 2


def test_a_strict_model_takes_the_numbers_that_its_version_makes_of_an_embedding(
    api: Api, declared: Version
) -> None:
    declared.signature["embedding_output"] = "taste"
    declared.save()
    api.send("PATCH", "/models/flights", {"schema_policy": "strict"})
    good = {"age": 1, "carrier": "AA", "taste.norm": 2.5, "taste.projection_01": 1.5}
    bad = {
        "other": {"smell.norm": 2.5},
        "of-an-image": {"taste.brightness": 0.5},
        "text": {"taste.norm": "long"},
    }

    answer = api.post(
        PATH, {"predictions": [item("good", good), *(item(name, good | more) for name, more in bad.items())]}
    )

    assert {name: code for name, code, _ in faults(answer)} == {
        "other": "unknown_feature",
        "of-an-image": "unknown_feature",
        "text": "wrong_type",
    }


def test_a_strict_model_refuses_a_batch_that_lacks_a_feature_throughout(api: Api, declared: Version) -> None:
    api.send("PATCH", "/models/flights", {"schema_policy": "strict"})

    answer = api.post(PATH, {"predictions": [item("a", {"age": 1}), item("b", {"age": 2})]})

    assert [code for _, code, _ in faults(answer)] == ["missing_feature", "missing_feature"]


def test_a_lenient_model_takes_other_features_and_refuses_wrong_types(api: Api, declared: Version) -> None:
    answer = api.post(PATH, {"predictions": MIXED})

    assert faults(answer) == [("other", "wrong_type", "/predictions/5/features/age")]
    assert api.get(f"{PATH}/more").json()["features"]["gate"] == 7


class TestServedVersion:
    """Of a version that has an artifact features and classes are known; a lenient model is so with what is not."""

    @pytest.fixture(autouse=True)
    def served(self, declared: Version) -> None:
        declared.sha256 = "a" * 64
        declared.save()

    def test_refuses_classes_and_features_that_it_has_not(self, api: Api) -> None:
        right = {"age": 3}
        items = [
            item("right", right) | {"probabilities": {"0": 0.4, "1": 0.6}},
            item("class", right) | {"prediction": "banana"},
            item("probability", right) | {"probabilities": {"0": 0.4, "banana": 0.6}},
            item("feature", right | {"gate": 7}),
        ]

        answer = api.post(PATH, {"predictions": items})

        assert sorted(faults(answer)) == [
            ("class", "unknown_class", "/predictions/1/prediction"),
            ("feature", "unknown_feature", "/predictions/3/features/gate"),
            ("probability", "unknown_class", "/predictions/2/probabilities/banana"),
        ]
        assert answer.json()["accepted"] == 1

    def test_takes_any_feature_where_its_input_names_none(self, api: Api, declared: Version) -> None:
        declared.signature["features"] = []
        declared.save()

        answer = api.post(PATH, {"predictions": [item("image", {"age": 3})]})

        assert answer.json()["accepted"] == 1


def test_a_strict_model_takes_a_version_whose_features_nobody_has_declared(api: Api, flights: Model) -> None:
    api.send("PATCH", "/models/flights", {"schema_policy": "strict"})

    assert api.post(PATH, {"predictions": [item("a", {"age": 1})]}).json()["accepted"] == 1


@pytest.mark.parametrize("policy", ["loose", "", 1, None])
def test_refuses_a_policy_that_is_none(api: Api, flights: Model, policy: object) -> None:
    answer = api.send("PATCH", "/models/flights", {"schema_policy": policy})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/schema_policy"


class TestRetention:
    def test_refuses_what_is_older_than_the_model_keeps(self, api: Api, flights: Model) -> None:
        api.send("PATCH", "/models/flights", {"retention_days": 30})
        rows = [item("new", {"a": 1}), item("old", {"a": 1}, age=timedelta(days=32))]

        answer = api.post(PATH, {"predictions": rows})

        assert faults(answer) == [("old", "timestamp_out_of_window", "/predictions/1/timestamp")]
        assert answer.json()["accepted"] == 1

    def test_goes_by_what_was_logged_before(self, api: Api, flights: Model) -> None:
        api.send("PATCH", "/models/flights", {"retention_days": 30})
        api.post(PATH, {"predictions": [item("new", {"a": 1})]})

        answer = api.post(PATH, {"predictions": [item("old", {"a": 1}, age=timedelta(days=32))]})

        assert [code for _, code, _ in faults(answer)] == ["timestamp_out_of_window"]

    def test_takes_a_history_from_its_first_day_on(self, api: Api, flights: Model) -> None:
        api.send("PATCH", "/models/flights", {"retention_days": 30})

        for age in (900, 880, 875):
            answer = api.post(PATH, {"predictions": [item(str(age), {"a": 1}, age=timedelta(days=age))]})
            assert answer.json()["accepted"] == 1

    def test_keeps_everything_where_the_model_says_so(self, api: Api, flights: Model) -> None:
        api.send("PATCH", "/models/flights", {"retention_days": 0})
        rows = [item("new", {"a": 1}), item("old", {"a": 1}, age=timedelta(days=3_000))]

        assert api.post(PATH, {"predictions": rows}).json()["accepted"] == 2


class TestRetentionPreview:
    PREVIEW = "/models/flights/retention/preview"

    def test_says_what_would_be_deleted_and_deletes_nothing(self, api: Api, flights: Model) -> None:
        items = [item(f"{days}", {"age": 3}, age=timedelta(days=days)) for days in (0, 40, 41)]
        api.post(PATH, {"predictions": items})

        preview = api.post(self.PREVIEW, {"retention_days": 30}).json()

        assert (preview["rows"], preview["rows_days"], preview["rows_later"]) == (2, 2, 2)
        assert preview["bytes"] == preview["rows_bytes"] > 0
        assert preview["sentence"].startswith("This deletes ")
        assert preview["rows_before"] == f"{now() - timedelta(days=30):%Y-%m-%d}T00:00:00Z"
        assert PredictionChunk.objects.count() == 3
        flights.refresh_from_db()
        assert flights.retention_days is None

    def test_of_what_is_not_sent_nothing_changes(self, api: Api, flights: Model) -> None:
        api.post(PATH, {"predictions": [item("old", {"age": 3}, age=timedelta(days=40))]})

        preview = api.post(self.PREVIEW, {}).json()

        assert (preview["rows"], preview["summaries"], preview["rows_before"]) == (0, 0, None)

    @pytest.mark.parametrize("days", [-1, 36_501, "many", 1.5])
    def test_refuses_days_that_nobody_can_keep(self, api: Api, flights: Model, days: Any) -> None:
        answer = api.post(self.PREVIEW, {"retention_days": days})

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/retention_days"
