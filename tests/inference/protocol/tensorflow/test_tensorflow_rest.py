"""TensorFlow Serving over HTTP, and KServe V1."""

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest

from inference.protocol.dialect import InferRequest, Target
from inference.protocol.results import BatchOutputs
from inference.protocol.tensorflow.tensorflow_rest import (
    TENSORFLOW_REST,
    VersionStatus,
    model_metadata,
    model_status,
    parse_v1_path,
)
from inference.protocol.v2.tensors import InvalidRequest, TooManyRows
from inference.signatures import Signature, TensorSpec
from tests.inference.onnx_models import classifier_signature
from tests.inference.protocol.signatures import BY_FEATURE, CLASSES, COINS, SUMS, TABLE, values_of

PREDICT, CLASSIFY, REGRESS = TENSORFLOW_REST


def read(dialect: Any, signature: Signature, body: str) -> InferRequest:
    request: InferRequest = dialect.compile("m", "1", signature).decode(body.encode(), {})
    return request


def written(dialect: Any, signature: Signature, body: str, batch: BatchOutputs, start: int, stop: int) -> str:
    codec = dialect.compile("m", "1", signature)
    content: bytes = codec.encode(batch, start, stop, codec.decode(body.encode(), {})).content
    return content.decode()


class TestPredict:
    @pytest.mark.parametrize(
        "body", ['{"instances":[[1,2,3]]}', '{"inputs":{"X":[[1,2,3]]}}', '{"inputs":[[1,2,3]],"extra":1}']
    )
    def test_reads_rows_and_columns(self, body: str) -> None:
        request = read(PREDICT, TABLE, body)

        assert (request.rows, values_of(TABLE, request.tensors)) == (1, {"X": [[1, 2, 3]]})

    @pytest.mark.parametrize("name", ["", "serving_default", "tensorflow/serving/predict"])
    def test_knows_the_signature_that_each_model_has(self, name: str) -> None:
        assert read(PREDICT, TABLE, json.dumps({"signature_name": name, "instances": [[1, 2, 3]]})).rows == 1

    @pytest.mark.parametrize(
        ("body", "part"),
        [
            ('{"instances":[[1,2,3]],"inputs":[[1,2,3]]}', "either 'instances' or 'inputs'"),
            ("{}", "either 'instances' or 'inputs'"),
            ("[[1,2,3]]", "not a JSON object"),
            ("{", "not JSON"),
            ('{"instances":[[1,2,Infinity]]}', "Infinity"),
            ('{"signature_name":"other","instances":[[1,2,3]]}', "no signature 'other'"),
            ('{"signature_name":"tensorflow/serving/regress","instances":[[1,2,3]]}', "no signature"),
            ('{"signature_name":{},"instances":[[1,2,3]]}', "no signature"),
        ],
    )
    def test_refuses_what_it_cannot_read(self, body: str, part: str) -> None:
        with pytest.raises(InvalidRequest, match=part):
            read(PREDICT, TABLE, body)

    def test_answers_rows_with_predictions_and_columns_with_outputs(self) -> None:
        by_row, by_column = '{"instances":[[1,2,3]]}', '{"inputs":[[1,2,3]]}'

        assert written(PREDICT, TABLE, by_row, SUMS, 0, 1) == '{"predictions":[[6.0]]}'
        assert written(PREDICT, TABLE, by_column, SUMS, 0, 1) == '{"outputs":[[6.0]]}'
        assert json.loads(written(PREDICT, CLASSES, by_row, COINS, 0, 1)) == {
            "predictions": [{"label": 1, "probabilities": [0.25, 0.75]}]
        }
        assert json.loads(written(PREDICT, CLASSES, by_column, COINS, 0, 1)) == {
            "outputs": {"label": [1], "probabilities": [[0.25, 0.75]]}
        }

    def test_writes_what_is_not_finite_as_tokens(self) -> None:
        body = '{"instances":[[1,2,3],[1,2,3]]}'

        assert written(PREDICT, TABLE, body, SUMS, 1, 3) == '{"predictions":[[NaN],[Infinity]]}'
        assert '"probabilities":[NaN,-Infinity]' in written(PREDICT, CLASSES, body, COINS, 0, 2)

    def test_writes_texts_as_such_and_as_base64_where_the_name_says_bytes(self) -> None:
        batch = BatchOutputs([np.array([[1.5]], np.float32), np.array([['a "null"']], object)])
        renamed = msgspec.structs.replace(
            BY_FEATURE, outputs=[BY_FEATURE.outputs[0], TensorSpec("text_bytes", "BYTES", [-1, 1])]
        )
        body = '{"instances":[{"amount":1,"carrier":"x"}]}'

        as_text = json.loads(written(PREDICT, BY_FEATURE, body, batch, 0, 1))
        as_bytes = json.loads(written(PREDICT, renamed, body, batch, 0, 1))

        assert as_text == {"predictions": [{"number": [1.5], "text": ['a "null"']}]}
        assert as_bytes == {"predictions": [{"number": [1.5], "text_bytes": [{"b64": "YSAibnVsbCI="}]}]}

    @pytest.mark.parametrize("datatype", [np.float16, np.float32, np.float64])
    @pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 2)])
    def test_keeps_the_shape_and_every_digit(self, shape: tuple[int, ...], datatype: Any) -> None:
        values = np.random.default_rng(1).normal(size=(2, *shape)).astype(datatype)
        values.reshape(-1)[0] = math.nan

        text = written(PREDICT, TABLE, '{"inputs":[[1,2,3],[4,5,6]]}', BatchOutputs([values]), 0, 2)

        found = np.array(json.loads(text)["outputs"], dtype=datatype)
        assert found.tobytes() == values.tobytes()

    @pytest.mark.parametrize("shape", [(2,), (2, 2)])
    def test_keeps_texts_with_commas_apart(self, shape: tuple[int, ...]) -> None:
        values = np.resize(np.array(["a,b", '","', "[", "\u00e9"], object), (1, *shape))

        text = written(PREDICT, TABLE, '{"instances":[[1,2,3]]}', BatchOutputs([values]), 0, 1)

        assert json.loads(text)["predictions"] == values.tolist()


class TestClassify:
    BODY = '{"examples":[{"f0":1,"f1":2}],"context":{"f2":[3]}}'

    def test_reads_examples_with_their_context(self) -> None:
        assert values_of(CLASSES, read(CLASSIFY, CLASSES, self.BODY).tensors) == {"X": [[1, 2, 3]]}

    def test_names_each_class_with_its_probability(self) -> None:
        assert written(CLASSIFY, CLASSES, self.BODY, COINS, 0, 1) == '{"results":[[["0",0.25],["1",0.75]]]}'
        assert "NaN" in written(CLASSIFY, CLASSES, self.BODY, COINS, 1, 2)

    def test_completes_a_lone_probability(self) -> None:
        alone = BatchOutputs([np.array([1]), np.array([[0.75]], np.float32)])

        assert written(CLASSIFY, CLASSES, self.BODY, alone, 0, 1) == '{"results":[[["0",0.25],["1",0.75]]]}'

    @pytest.mark.parametrize(
        ("signature", "body", "part"),
        [
            (TABLE, BODY, "gives no probabilities"),
            (CLASSES, '{"examples":{}}', "list of objects by feature"),
            (CLASSES, '{"examples":[[1,2,3]]}', "list of objects by feature"),
            (CLASSES, '{"examples":[]}', "one item a row"),
            (CLASSES, '{"examples":[{}],"context":7}', "'context' is 7"),
            (CLASSES, '{"examples":[{"f0":1}]}', "'f1' is missing"),
            (CLASSES, '{"instances":[[1,2,3]]}', "list of objects by feature"),
        ],
    )
    def test_refuses_what_does_not_fit(self, signature: Signature, body: str, part: str) -> None:
        with pytest.raises(InvalidRequest, match=part):
            read(CLASSIFY, signature, body)

    def test_repeats_a_context_only_so_often_as_memory_is_not_at_risk(self) -> None:
        context = {f"f{place}": 1 for place in range(2_000)}
        body = json.dumps({"examples": [{}] * 1_000, "context": context})

        with pytest.raises(TooManyRows, match="2000 features for 1000 examples"):
            read(CLASSIFY, classifier_signature(2_000), body)


class TestRegress:
    BODY = '{"examples":[{"f0":1,"f1":2,"f2":3},{"f0":1,"f1":2,"f2":3}]}'

    def test_answers_a_number_a_row(self) -> None:
        assert written(REGRESS, TABLE, self.BODY, SUMS, 0, 2) == '{"results":[6.0,NaN]}'

    def test_is_not_for_classifiers(self) -> None:
        with pytest.raises(InvalidRequest, match="predicts classes"):
            read(REGRESS, CLASSES, self.BODY)


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "target"),
        [
            (b"/v1/models/m", Target("m")),
            (b"/v1/models/m/versions/2", Target("m", "2")),
            (b"/v1/models/m/versions/0", Target("m")),
            (b"/v1/models/m/labels/stable", Target("m", label="stable")),
            (b"/v1/models/", None),
            (b"/v1/models/m/labels/", None),
            (b"/v1/models/m/versions/1/labels/stable", None),
            (b"/v1/models/m/shadows/1", None),
            (b"/v1/models/\xff", None),
        ],
    )
    def test_name_a_model_and_a_version_or_a_label(self, path: bytes, target: Target | None) -> None:
        assert parse_v1_path(path) == target

    def test_end_with_the_verb(self) -> None:
        taken = [dialect.takes(b"/v1/models/m/versions/2:classify") for dialect in TENSORFLOW_REST]

        assert taken == [False, True, False]
        assert CLASSIFY.parse_path(b"/v1/models/m/versions/2:classify") == Target("m", "2")
        assert not any(dialect.takes(b"/v1/models/m:explain") for dialect in TENSORFLOW_REST)


class TestDocuments:
    def test_tell_the_state_of_each_version(self) -> None:
        statuses = [VersionStatus("1", "AVAILABLE"), VersionStatus("2", "END", "broken")]

        document = model_status("m", statuses, is_ready=True)

        assert (document["name"], document["ready"]) == ("m", True)
        assert document["model_version_status"] == [
            {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}},
            {
                "version": "2",
                "state": "END",
                "status": {"error_code": "UNAVAILABLE", "error_message": "broken"},
            },
        ]

    def test_describe_the_tensors(self) -> None:
        document: Any = model_metadata("m", "2", BY_FEATURE)

        signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert document["model_spec"] == {"name": "m", "signature_name": "", "version": "2"}
        assert signature["inputs"]["carrier"] == {
            "dtype": "DT_STRING",
            "tensor_shape": {
                "dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}],
                "unknown_rank": False,
            },
            "name": "carrier",
        }

    def test_write_errors_as_one_key(self) -> None:
        assert json.loads(PREDICT.write_error(400, "No.").content) == {"error": "No."}
