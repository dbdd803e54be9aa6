"""What the client asks a model, and what it makes of the answer."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import driftline_client
from driftline_client import DriftlineError, ModelHandle
from tests.driftline_client.server import COLUMNS, Answer, Recorder, running_server
from tests.driftline_client.v2_bodies import ONE_ROW, TWO_ROWS

FRAME = pd.DataFrame(
    {"label": ["late", "late"], "carrier": ["AA", "UA"], "delay": [4.5, None], "hour": [7, 8]}
)


def _answer(body: Any) -> Answer:
    return Answer(200, body, {"Driftline-Prediction-Id": "0199-id"})


class TestPredict:
    def test_sends_one_input_a_feature(self, server: Recorder, flights: ModelHandle) -> None:
        server.metadata = COLUMNS
        server.answers = [_answer(ONE_ROW)]

        prediction = flights.predict({"carrier": "AA", "delay": float("nan"), "hour": 7.0})

        path, headers, body = server.requests[0]
        assert path == "/v2/models/flights/versions/7/infer"
        assert headers["Authorization"] == "Bearer dl_test"
        assert body["inputs"] == [
            {"name": "delay", "datatype": "FP32", "shape": [1, 1], "data": [None]},
            {"name": "hour", "datatype": "INT64", "shape": [1, 1], "data": [7]},
            {"name": "carrier", "datatype": "BYTES", "shape": [1, 1], "data": ["AA"]},
        ]
        assert prediction.ids == ["0199-id"]
        assert prediction.version == "7"
        assert prediction.outputs == {"label": ["late"], "probabilities": [[0.25, 0.75]]}

    @pytest.mark.parametrize(
        "rows", [[[1, 2, 3], [4, 5, float("nan")]], np.array([[1, 2, 3], [4, 5, np.nan]], np.float32)]
    )
    def test_sends_rows_as_one_tensor(self, server: Recorder, flights: ModelHandle, rows: Any) -> None:
        server.answers = [_answer(TWO_ROWS)]

        prediction = flights.predict(rows)

        assert server.requests[0][2]["inputs"] == [
            {"name": "X", "datatype": "FP32", "shape": [2, 3], "data": [1.0, 2.0, 3.0, 4.0, 5.0, None]}
        ]
        assert prediction.ids == ["0199-id:0", "0199-id:1"]
        assert prediction.outputs["probabilities"] == [[0.25, 0.75], [0.9, 0.1]]

    def test_orders_a_row_by_the_columns_that_are_named(self, server: Recorder) -> None:
        server.answers = [_answer(ONE_ROW)]
        named = driftline_client.model("flights", server.url, "dl_test", columns=["a", "b", "c"])

        with named:
            named.predict({"c": 3, "a": 1, "b": True})

        path, _, body = server.requests[0]
        assert path == "/v2/models/flights/infer"
        assert body["inputs"][0]["data"] == [1.0, 1.0, 3.0]

    @pytest.mark.parametrize(
        "frame",
        [FRAME, pa.Table.from_pandas(FRAME), pa.RecordBatch.from_pandas(FRAME)],
        ids=["pandas", "arrow", "batch"],
    )
    def test_takes_a_frame_by_the_names_of_its_columns(
        self, server: Recorder, flights: ModelHandle, frame: Any
    ) -> None:
        server.metadata = COLUMNS
        server.answers = [_answer(TWO_ROWS)]

        prediction = flights.predict(frame)

        assert server.requests[0][2]["inputs"] == [
            {"name": "delay", "datatype": "FP32", "shape": [2, 1], "data": [4.5, None]},
            {"name": "hour", "datatype": "INT64", "shape": [2, 1], "data": [7, 8]},
            {"name": "carrier", "datatype": "BYTES", "shape": [2, 1], "data": ["AA", "UA"]},
        ]
        assert prediction.ids == ["0199-id:0", "0199-id:1"]

    @pytest.mark.parametrize(
        "rows", [FRAME, [{"carrier": "AA", "hour": 7, "delay": 4.5}]], ids=["frame", "rows"]
    )
    def test_orders_the_columns_of_one_tensor_as_the_model_names_them(
        self, server: Recorder, flights: ModelHandle, rows: Any
    ) -> None:
        tensor = {"name": "X", "datatype": "BYTES", "shape": [-1, 3]}
        server.metadata = {"inputs": [tensor], "properties": {"features": '["carrier", "delay", "hour"]'}}
        server.answers = [_answer(ONE_ROW)]

        flights.predict(rows)

        assert server.requests[0][2]["inputs"][0]["data"][:3] == ["AA", "4.5", "7"]

    def test_takes_a_frame_in_its_own_order_where_nobody_names_the_columns(
        self, server: Recorder, flights: ModelHandle
    ) -> None:
        server.answers = [_answer(ONE_ROW)]

        flights.predict(pd.DataFrame({"b": [1.0], "a": [2.0], "c": [3.0]}))

        assert server.requests[0][2]["inputs"][0]["data"] == [1.0, 2.0, 3.0]

    def test_sends_key_time_tags_and_subject_as_parameters(
        self, server: Recorder, flights: ModelHandle
    ) -> None:
        server.answers = [_answer(ONE_ROW)]

        flights.predict(
            [1, 2, 3],
            id="order 9",
            timestamp=datetime(2026, 1, 31, tzinfo=UTC),
            tags={"airport": "JFK"},
            subject="person 9",
        )

        assert server.requests[0][2]["parameters"] == {
            "driftline_id": "order 9",
            "driftline_timestamp": "2026-01-31T00:00:00Z",
            "driftline_tags": '{"airport": "JFK"}',
            "driftline_subject": "person 9",
        }

    @pytest.mark.parametrize(
        ("metadata", "features", "words"),
        [
            (COLUMNS, {"delay": 1.0, "hour": 7}, "'carrier' is missing"),
            (COLUMNS, {"delay": 1.0, "hour": 7.5, "carrier": "AA"}, "INT64"),
            (COLUMNS, {"delay": "far", "hour": 7, "carrier": "AA"}, "FP32"),
            (COLUMNS, [[1, 2, 3]], "one input a feature"),
            (None, [1, 2], "3 columns"),
            (None, {"a": 1}, "columns="),
            (None, [], "no rows"),
            (None, pd.DataFrame({"a": []}), "no rows"),
            (None, pd.DataFrame({"a": [1], "b": [2]}), "3 columns and a row has 2"),
            (COLUMNS, pd.DataFrame({"delay": [1.0], "hour": [7]}), "'carrier' is missing"),
            (COLUMNS, pd.DataFrame([[1, 2]], columns=["delay", "delay"]), "2 columns 'delay'"),
        ],
    )
    def test_says_what_does_not_fit_before_it_sends(
        self, server: Recorder, flights: ModelHandle, metadata: Any, features: Any, words: str
    ) -> None:
        server.metadata = metadata or server.metadata

        with pytest.raises(DriftlineError, match=words):
            flights.predict(features)

        assert server.requests == []

    def test_raises_what_the_server_says(self, server: Recorder, flights: ModelHandle) -> None:
        server.answers = [Answer(400, {"error": "Input 'X' has rows of unequal length."})]

        with pytest.raises(DriftlineError, match="unequal length") as caught:
            flights.predict([1, 2, 3])

        assert caught.value.status == 400

    def test_says_that_nobody_answers(self) -> None:
        with running_server() as gone:
            pass

        with (
            driftline_client.model("flights", gone.url, "dl_test") as flights,
            pytest.raises(DriftlineError, match="does not answer"),
        ):
            flights.predict([1])
