"""KServe's payload logger tells a request and its response apart; together they are predictions."""

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

import orjson
import pytest
from django.db import connection, connections

from driftline.base.clock import now
from driftline.base.periods import rfc3339
from inference.prediction_log.erasure.services import request_erasure, resume_erasure
from inference.prediction_log.events import joining
from inference.prediction_log.events.models import EventHalf
from inference.prediction_log.models import PredictionRow
from inference.prediction_log.tasks import expire
from inference.registry.models import Model, Version
from tests.driftline.api.conftest import Api, caller

PATH = "/models/flights/events"
ASKED = now() - timedelta(minutes=5)
MISSING_CARRIER = "?"

type Half = tuple[str, Any]

REQUEST: Half = ("request", {"instances": [[1.5, "AA"], [2.5, MISSING_CARRIER]]})
RESPONSE: Half = ("response", {"predictions": [1, 0]})


def tensor(name: str, shape: list[int], data: list[Any], datatype: str = "FP32") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def attributes(kind: str, id_: str = "e", **others: str) -> dict[str, str]:
    """The attributes of a CloudEvent as KServe makes them; the response comes 12.5 ms after the request."""
    moment = ASKED + timedelta(milliseconds=12.5 if kind == "response" else 0)
    return {
        "specversion": "1.0",
        "type": f"org.kubeflow.serving.inference.{kind}",
        "id": id_,
        "time": rfc3339(moment),
        "source": "http://localhost:9081/",
        "inferenceservicename": "flights",
        "namespace": "models",
        "component": "predictor",
        "endpoint": "default",
        **others,
    }


def tell(api: Api, half: Half, id_: str = "e", *, path: str = PATH, **others: str) -> Any:
    """Send one half in binary mode, with attributes left out where they are empty."""
    told = attributes(half[0], id_, **others)
    headers = {f"ce_{name}": value for name, value in told.items() if value}
    return api.post(path, half[1], **headers)


def stored(api: Api, id_: str) -> dict[str, Any]:
    answer = api.get(f"/models/flights/predictions/{id_}")
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def refusal(answer: Any) -> tuple[int, str, list[str]]:
    told = answer.json()
    return answer.status_code, told["code"], [fault["pointer"] for fault in told.get("errors", ())]


def logged() -> int:
    return PredictionRow.objects.count()


def waiting() -> int:
    return EventHalf.objects.count()


@pytest.fixture
def declared(flights: Model) -> Version:
    """A version that declares a number and a text in one tensor, and two classes by name."""
    signature = {
        "features": [{"name": "delay", "type": "float"}, {"name": "carrier", "type": "string"}],
        "inputs": [{"name": "input-0", "datatype": "BYTES", "shape": [-1, 2]}],
        "outputs": [],
        "prediction_output": "class",
        "probabilities_output": "scores",
        "classes": ["0", "1"],
        "positive_class": "1",
        "missing": {"carrier": MISSING_CARRIER},
        "task": "binary",
    }
    return Version.objects.create(model=flights, version="1", signature=signature)


# -- joining -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("order", [(REQUEST, RESPONSE), (RESPONSE, REQUEST)], ids=["as made", "turned"])
def test_two_halves_are_one_prediction_a_row(api: Api, declared: Version, order: tuple[Half, Half]) -> None:
    first, second = (tell(api, half) for half in order)

    assert (first.status_code, first.json()) == (202, {"id": "e", "status": "waiting"})
    joined = {"id": "e", "status": "accepted", "accepted": 2, "duplicates": 0}
    assert (second.status_code, second.json()) == (200, joined)
    row, other = stored(api, "e:0"), stored(api, "e:1")
    assert row["features"] == {"delay": 1.5, "carrier": "AA"}
    assert (row["prediction"], row["version"], row["latency_ms"]) == ("1", "1", 12.5)
    assert datetime.fromisoformat(row["timestamp"]) == ASKED
    assert (other["features"]["carrier"], other["prediction"]) == (None, "0")
    assert waiting() == 0


def test_a_single_row_has_the_id_of_its_event(api: Api, flights: Model) -> None:
    tell(api, ("request", {"instances": [{"delay": 3, "carrier": "BA"}]}), "one/of 1")
    tell(api, ("response", {"predictions": [{"prediction": 1, "probabilities": 0.8}]}), "one/of 1")

    row = stored(api, "one/of%201")
    assert row["features"] == {"delay": 3.0, "carrier": "BA"}
    assert (row["prediction"], row["version"]) == ("1", "1")


@pytest.mark.parametrize(
    ("request_body", "response_body"),
    [
        (
            {"inputs": [tensor("input-0", [2, 2], [1.5, "AA", 2.5, "BA"])]},
            {"outputs": [tensor("class", [2], [1, 0]), tensor("scores", [2, 2], [0.2, 0.8, 0.9, 0.1])]},
        ),
        (
            {"inputs": [tensor("input-0", [2, 2], [[1.5, "AA"], [2.5, "BA"]])]},
            {"outputs": [tensor("scores", [2, 2], [[0.2, 0.8], [0.9, 0.1]])]},
        ),
        (
            {"inputs": [tensor("carrier", [2, 1], ["AA", "BA"]), tensor("delay", [2], [1.5, 2.5])]},
            {"outputs": [tensor("scores", [2, 1], [0.8, 0.1]), tensor("class", [2, 1], [[1], [0]])]},
        ),
        (
            {"instances": [{"delay": [1.5], "carrier": "AA"}, {"carrier": "BA", "delay": 2.5}]},
            {"predictions": [[0.2, 0.8], [0.9, 0.1]]},
        ),
        (
            {"inputs": {"delay": [1.5, 2.5], "carrier": [["AA"], ["BA"]]}},
            {"outputs": {"class": [1, 0], "scores": [[0.2, 0.8], [0.9, 0.1]]}},
        ),
    ],
    ids=["V2 flat", "V2 nested", "V2 by feature", "V1 objects", "V1 columns"],
)
def test_every_shape_says_the_same(
    api: Api, declared: Version, request_body: dict[str, Any], response_body: dict[str, Any]
) -> None:
    tell(api, ("request", request_body))
    answer = tell(api, ("response", response_body))

    assert answer.status_code == 200, answer.content
    rows = [stored(api, "e:0"), stored(api, "e:1")]
    assert [row["features"] for row in rows] == [
        {"delay": 1.5, "carrier": "AA"},
        {"delay": 2.5, "carrier": "BA"},
    ]
    assert [row["prediction"] for row in rows] == ["1", "0"]
    assert [row["probability"] for row in rows] == pytest.approx([0.8, 0.1])


def test_an_event_may_come_structured_and_without_a_model_in_its_url(api: Api, declared: Version) -> None:
    for kind, data in (REQUEST, RESPONSE):
        body = attributes(kind) | {"data": data}
        answer = api.post("/events", body, content_type="application/cloudevents+json")

    assert answer.json()["status"] == "accepted"
    assert stored(api, "e:0")["features"]["delay"] == 1.5


def test_the_model_in_the_url_wins(api: Api, declared: Version) -> None:
    tell(api, REQUEST, inferenceservicename="another")
    answer = tell(api, RESPONSE, inferenceservicename="")

    assert answer.json()["accepted"] == 2


def test_the_attribute_names_the_version_before_the_url_does(api: Api, flights: Model) -> None:
    named = ("request", {"instances": [{"a": 1}]})
    answer = ("response", {"predictions": [1]})
    for half in (named, answer):
        tell(
            api,
            half,
            "by-attribute",
            path=f"{PATH}?version=7",
            driftlineversion="8",
        )
        tell(api, half, "by-url", path=f"{PATH}?version=7")

    assert [stored(api, id_)["version"] for id_ in ("by-attribute", "by-url")] == ["8", "7"]


def test_kserve_sends_the_token_as_the_password_of_its_url(api: Api, flights: Model) -> None:
    def sent(password: str) -> int:
        pair = base64.b64encode(f"driftline:{password}".encode()).decode()
        headers = {f"ce-{name}": value for name, value in attributes("request").items()}
        body = orjson.dumps({"instances": [{"a": 1}]})
        headers["Authorization"] = f"Basic {pair}"
        status: int = api.client.generic("POST", f"/api/v1{PATH}", body, headers=headers).status_code
        return status

    assert [sent(api.text), sent("dl_wrong"), sent(caller("ours", "read").text)] == [202, 401, 403]


# -- again and at once -------------------------------------------------------------------------------------------------
def test_repeated_halves_change_nothing(api: Api, declared: Version) -> None:
    told = [tell(api, half).json()["status"] for half in (REQUEST, REQUEST, RESPONSE, RESPONSE, REQUEST)]

    assert told == ["waiting", "waiting", "accepted", "duplicate", "duplicate"]
    assert (logged(), waiting()) == (2, 0)


def test_a_half_that_a_crash_left_behind_goes_with_the_next_repetition(api: Api, declared: Version) -> None:
    tell(api, REQUEST)
    left = EventHalf.objects.get()
    tell(api, RESPONSE)
    EventHalf.objects.bulk_create(
        [left]
    )  # as it lies there when the process dies right after the log's commit

    assert tell(api, RESPONSE).json()["status"] == "duplicate"
    assert (logged(), waiting()) == (2, 0)


def test_another_request_under_an_id_that_waits_is_refused(api: Api, flights: Model) -> None:
    tell(api, REQUEST)

    answer = tell(api, ("request", {"instances": [{"a": 1}]}))

    assert refusal(answer) == (422, "conflict", ["/ce-id"])


@pytest.fixture
def other_threads(transactional_db: None) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads
        both = Barrier(2)

        def close() -> None:
            both.wait(30)
            connections.close_all()

        for done in [threads.submit(close) for _ in range(2)]:
            done.result(60)


@pytest.mark.slow
def test_halves_that_come_at_once_are_joined_exactly_once(
    other_threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = caller("ours")
    api.post("/models", {"name": "flights", "task": "binary"})
    halves = (("request", {"instances": [{"a": 1}]}), ("response", {"predictions": [1]}))
    both, keep = Barrier(2), joining._keep

    def keep_at_once(*given: Any) -> None:
        """Neither has found the other when both are kept."""
        both.wait(30)
        keep(*given)
        both.wait(30)

    monkeypatch.setattr(joining, "_keep", keep_at_once)

    answers = list(other_threads.map(lambda half: tell(caller("ours"), half).json(), halves))

    assert sorted(answer["status"] for answer in answers) == ["accepted", "duplicate"]
    assert (logged(), waiting()) == (1, 0)


# -- what is refused ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changed", "code", "pointer"),
    [
        ({"type": "org.example.other"}, "unknown_event", "/ce-type"),
        ({"type": ""}, "missing_field", "/ce-type"),
        ({"specversion": "0.3"}, "unknown_event", "/ce-specversion"),
        ({"id": "a%00b"}, "invalid_id", "/ce-id"),
        ({"id": "x" * 201}, "invalid_id", "/ce-id"),
        ({"time": "yesterday"}, "invalid_timestamp", "/ce-time"),
        ({"driftlineversion": "no version"}, "invalid_version", "/ce-driftlineversion"),
    ],
)
def test_a_wrong_attribute_is_named(
    api: Api, flights: Model, changed: dict[str, str], code: str, pointer: str
) -> None:
    id_ = changed.pop("id", "e")

    assert refusal(tell(api, REQUEST, id_, **changed)) == (422, code, [pointer])
    assert waiting() == 0


def test_an_event_without_id_is_refused(api: Api, flights: Model) -> None:
    assert refusal(tell(api, REQUEST, "")) == (422, "missing_field", ["/ce-id"])


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        (b'{"instances": [', 400, "malformed_json", None),
        (b'{"instances": [NaN]}', 400, "malformed_json", None),
        (b"[" * 100_000, 400, "too_deep", None),
        (b"[]", 422, "missing_field", "/instances"),
        (b'{"predictions": [1]}', 422, "missing_field", "/instances"),
        (b'{"instances": []}', 422, "empty_batch", None),
        (b'{"instances": [[[1, 2], [3, 4]]]}', 422, "wrong_shape", "/instances/0"),
        (b'{"inputs": 1}', 422, "wrong_type", "/inputs"),
        (b'{"inputs": [{"name": "a", "shape": [2]}]}', 422, "missing_field", "/inputs/0/data"),
        (b'{"inputs": [{"name": 1, "shape": [1], "data": [1]}]}', 422, "wrong_type", "/inputs/0/name"),
        (b'{"inputs": [{"name": "a", "shape": [2], "data": [1]}]}', 422, "wrong_shape", "/inputs/0/data"),
        (b'{"inputs": [{"name": "a", "shape": [9000000000, 0], "data": []}]}', 422, "wrong_shape", "/inputs/0/shape"),
        (b'{"inputs": [{"name": "a", "shape": [1, 2, 2], "data": []}]}', 422, "wrong_shape", "/inputs/0/shape"),
        (b'{"inputs": [{"name": "a", "shape": [1], "data": [{}]}]}', 422, "wrong_type", "/inputs/0/data"),
        (b'{"inputs": {"a": [1, 2], "b": [1]}}', 422, "wrong_shape", "/inputs"),
        (b'{"instances": [' + b"1," * 10_000 + b"1]}", 413, "batch_too_large", None),
        (b" " * (4 << 20) + b"{}", 413, "body_too_large", None),
    ],
)  # fmt: skip
def test_a_request_that_no_response_could_fit_is_refused_at_once(
    api: Api, flights: Model, body: bytes, status: int, code: str, pointer: str | None
) -> None:
    answer = tell(api, ("request", body))

    assert refusal(answer) == (status, code, [pointer] if pointer else [])
    assert waiting() == 0


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ({"predictions": [1]}, "row_count_mismatch"),
        ({"predictions": [None, 1]}, "missing_prediction"),
        ({"predictions": [[0.1, 0.2, 0.7], [0.1, 0.2, 0.7]]}, "unnamed_classes"),
        ({"predictions": [["a", "b"], ["a", "b"]]}, "invalid_probability"),
        ({"predictions": [{"class": 1, "scores": 7}, {"class": 1, "scores": 0.5}]}, "batch_refused"),
    ],
)
def test_a_response_that_does_not_fit_stores_nothing_and_the_right_one_is_still_awaited(
    api: Api, declared: Version, response: dict[str, Any], code: str
) -> None:
    tell(api, REQUEST)

    answer = tell(api, ("response", response))

    assert refusal(answer)[:2] == (422, code)
    assert (logged(), waiting()) == (0, 1)
    assert tell(api, RESPONSE).json()["accepted"] == 2


@pytest.mark.parametrize(
    ("request_body", "code"),
    [
        ({"instances": [[1.5, "AA"]]}, "unnamed_features"),
        ({"inputs": [tensor("input-0", [1, 2], [1.5, 2.5])]}, "unnamed_features"),
        ({"instances": [{"a": [1, 2], "b": 3}]}, "wrong_shape"),
    ],
)
def test_a_list_needs_a_version_that_names_its_features(
    api: Api, flights: Model, request_body: dict[str, Any], code: str
) -> None:
    tell(api, ("request", request_body))

    answer = tell(api, ("response", {"predictions": [1]}))

    assert refusal(answer) == (422, code, ["/request"])
    assert logged() == 0


def test_a_row_of_another_length_than_the_signature_is_refused(api: Api, declared: Version) -> None:
    tell(api, ("request", {"instances": [[1.5]]}))

    assert refusal(tell(api, ("response", {"predictions": [1]})))[1] == "wrong_shape"


def test_halves_of_two_versions_are_no_event(api: Api, flights: Model) -> None:
    tell(api, ("request", {"instances": [{"a": 1}]}), driftlineversion="1")

    answer = tell(api, ("response", {"predictions": [1]}), driftlineversion="2")

    assert refusal(answer) == (422, "version_mismatch", ["/ce-driftlineversion"])


def test_halves_of_two_projects_never_meet(api: Api, stranger: Api, flights: Model) -> None:
    stranger.post("/models", {"name": "flights", "task": "binary"})
    tell(api, REQUEST)

    assert tell(stranger, RESPONSE).json()["status"] == "waiting"


# -- how long, and whose -----------------------------------------------------------------------------------------------
def test_a_half_waits_for_an_hour(api: Api, flights: Model) -> None:
    tell(api, REQUEST, "old")
    tell(api, REQUEST, "young")
    old = EventHalf.objects.filter(event_id="old")
    old.update(received_at=now() - joining.WAIT - timedelta(seconds=1))

    expire()

    assert [half.event_id for half in EventHalf.objects.all()] == ["young"]


def test_metrics_tell_how_many_halves_wait(api: Api, flights: Model) -> None:
    tell(api, REQUEST)

    answer = api.client.get("/metrics", headers={"Authorization": f"Bearer {api.text}"})

    assert "driftline_event_halves_waiting 1.0" in answer.content.decode()


@pytest.mark.parametrize("key", ["mary@example.com", "Ann"])
def test_an_erasure_takes_the_halves_that_name_the_subject(api: Api, flights: Model, key: str) -> None:
    tell(api, ("request", {"instances": [{"passenger": key}]}), "theirs")
    tell(api, ("request", {"instances": [{"passenger": "Annabel"}]}), "another's")
    erasure = request_erasure(project=api.project, key=key, actor="test")

    resume_erasure(erasure.pk)

    assert [half.event_id for half in EventHalf.objects.all()] == ["another's"]
    erasure.refresh_from_db()
    assert erasure.counts["event_halves"] == 1


def test_privacy_holds_for_what_is_joined(api: Api, flights: Model) -> None:
    api.send("PATCH", "/models/flights", {"privacy": {"passenger": "drop"}})
    tell(api, ("request", {"instances": [{"passenger": "Ann", "delay": 1}]}))
    tell(api, ("response", {"predictions": [1]}))

    assert stored(api, "e")["features"] == {"delay": 1.0}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM inference_predictionchunk WHERE position('Ann'::bytea IN payload) > 0"
        )
        assert cursor.fetchone() == (0,)
