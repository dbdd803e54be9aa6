"""What one caller sees of a whole installation: unique ids, the row in the log, and what a label changes."""

import http.client
import time
from contextlib import closing
from typing import Any

import msgspec
import pytest

from driftline.demo.api_client import Api
from driftline.demo.wire import HttpConnection
from tests.flows.installation.clients import infer_body, logged, request
from tests.flows.installation.conftest import Tell
from tests.flows.installation.running import Installation, make_model
from tests.waiting import wait_until

pytestmark = [pytest.mark.installation, pytest.mark.e2e, pytest.mark.chaos]

CALLS = 10_000
UNDER_WAY = 50


def test_ten_thousand_calls_with_the_same_id_and_body_are_ten_thousand_rows(
    installation: Installation, tell: Tell
) -> None:
    model_id = make_model(installation, "same-id")
    call = request(installation, "/v2/models/same-id/infer", infer_body([1.0, 2.0, 3.0, 4.0], id="1"))
    started = time.monotonic()

    ids = []
    with closing(HttpConnection("127.0.0.1", installation.port)) as connection:
        for _ in range(CALLS // UNDER_WAY):
            connection.write(call * UNDER_WAY)
            answers = [connection.read_answer() for _ in range(UNDER_WAY)]
            assert {answer.status for answer in answers} == {200}, answers[0].body
            assert {msgspec.json.decode(answer.body)["id"] for answer in answers} == {"1"}
            ids += [answer.headers["driftline-prediction-id"] for answer in answers]
    asked_s = time.monotonic() - started

    stored = installation.wait_until_stored(model_id, set(ids))
    client_ids = installation.query(
        "SELECT DISTINCT client_id FROM inference_predictionrow WHERE model_id = %s", [model_id]
    )
    tell(
        f"same id: {CALLS:,} calls in {asked_s:.1f} s, {len(set(ids)):,} ids, {sum(stored.values()):,} rows "
        f"{time.monotonic() - started - asked_s:.1f} s later"
    )
    assert len(set(ids)) == CALLS
    assert stored == dict.fromkeys(ids, 1)
    assert client_ids == [("1",)]


def test_a_prediction_comes_into_the_log_and_its_label_into_the_metric(
    installation: Installation, tell: Tell
) -> None:
    make_model(installation, "curious")

    with closing(installation.api()) as api:
        first, logged_s = _ask_and_look_up(installation, api)
        _, right_s = _label_and_await(api, first, "1", accuracy=1.0, n=1)
        second, _ = _ask_and_look_up(installation, api)
        _, wrong_s = _label_and_await(api, second, "0", accuracy=0.5, n=2)
        point, corrected_s = _label_and_await(api, second, "1", accuracy=1.0, n=2)

    tell(
        f"one prediction: in the log after {logged_s:.2f} s; labels in accuracy after {right_s:.2f}, "
        f"{wrong_s:.2f} and (corrected) {corrected_s:.2f} s; accuracy {point['value']} of n = {point['n']}"
    )


def _ask_and_look_up(installation: Installation, api: Api) -> tuple[dict[str, Any], float]:
    """Ask as curl would, on a connection of its own; give the logged row and the seconds until it was there."""
    connection = http.client.HTTPConnection("127.0.0.1", installation.port, timeout=30)
    headers = {"Authorization": f"Bearer {installation.token}", "Content-Type": "application/json"}
    connection.request("POST", "/v2/models/curious/infer", infer_body([1.0, 2.0, 3.0, 4.0], id="c"), headers)
    response = connection.getresponse()
    answer = msgspec.json.decode(response.read())
    connection.close()
    assert response.status == 200
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    assert outputs["label"] == [1]
    id_ = response.headers["Driftline-Prediction-Id"]
    started = time.monotonic()

    row = wait_until(lambda: api.find(f"/api/v1/models/curious/predictions/{id_}"), what="the row in the log")

    seconds = time.monotonic() - started
    assert (row["id"], row["client_id"], row["version"], row["role"]) == (id_, "c", "1", "champion")
    assert 0 < row["latency_ms"] < 10_000
    assert row["features"] == {"f0": 1.0, "f1": 2.0, "f2": 3.0, "f3": 4.0}
    assert (row["prediction"], row["probability"]) == ("1", pytest.approx(0.8))
    return row, seconds


def _label_and_await(
    api: Api, row: dict[str, Any], label: str, *, accuracy: float, n: int
) -> tuple[dict[str, Any], float]:
    """Send a label and wait until the accuracy of its prediction's day is what it then must be."""
    answer = api.post("/api/v1/models/curious/labels", {"labels": [{"id": row["id"], "label": label}]})
    assert answer["accepted"] == 1
    started = time.monotonic()

    def changed() -> dict[str, Any] | None:
        path = "/api/v1/models/curious/metrics?metric=accuracy&step=day&from=-2d"
        day = [p for p in api.get(path)["items"] if p["start"] <= row["timestamp"] < p["end"]]
        return next((p for p in day if (p["value"], p["n"]) == (accuracy, n)), None)

    point = wait_until(changed, what=f"accuracy {accuracy} of {n}")
    return point, time.monotonic() - started


def test_a_client_that_hangs_up_within_its_body_leaves_nothing(installation: Installation) -> None:
    model_id = make_model(installation, "hasty")
    path, rows = "/api/v1/models/hasty/predictions", [logged(f"hasty-{number}") for number in range(500)]
    whole = request(installation, path, msgspec.json.encode({"predictions": rows}))

    for share in (0.3, 0.6, 0.999):
        with closing(HttpConnection("127.0.0.1", installation.port)) as connection:
            connection.write(whole[: int(share * len(whole))])
    with closing(HttpConnection("127.0.0.1", installation.port)) as connection:
        assert installation.stored(model_id) == {}
        connection.write(whole)
        told = msgspec.json.decode(connection.read_answer().body)

    assert told["accepted"] == 500
    assert len(installation.stored(model_id)) == 500
