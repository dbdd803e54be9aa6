"""TensorFlow Serving's messages."""

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from inference.protocol.dialect import Target
from inference.protocol.prediction_service_pb2 import (
    ModelSpec,
    PredictRequest,
    SignatureDefMap,
    TensorProto,
    TensorShapeProto,
)
from inference.protocol.tensorflow.tensorflow_grpc import (
    TENSORFLOW_GRPC,
    metadata_message,
    read_spec,
    status_message,
)
from inference.protocol.tensorflow.tensorflow_rest import DTYPES, VersionStatus
from inference.protocol.v2.open_inference_grpc import TIMEOUT
from inference.protocol.v2.tensors import NUMPY_TYPES, InvalidRequest, TooManyRows
from inference.signatures import Signature, TensorSpec
from tests.inference.protocol.signatures import BY_FEATURE, CLASSES, COINS, TABLE, one_input, values_of

FIELDS = {
    "BOOL": "bool_val",
    "INT64": "int64_val",
    "UINT32": "uint32_val",
    "UINT64": "uint64_val",
    "FP16": "half_val",
    "FP32": "float_val",
    "FP64": "double_val",
}


def tensor(*shape: int, dtype: Any = "DT_FLOAT", **values: Any) -> TensorProto:
    dims = [TensorShapeProto.Dim(size=size) for size in shape]
    return TensorProto(dtype=dtype, tensor_shape=TensorShapeProto(dim=dims), **values)


def request(signature: str = "", only: list[str] | None = None, **inputs: TensorProto) -> PredictRequest:
    return PredictRequest(
        model_spec=ModelSpec(name="m", signature_name=signature), inputs=inputs, output_filter=only or []
    )


def read(signature: Signature, message: PredictRequest, headers: Any = None) -> Any:
    return TENSORFLOW_GRPC.compile("m", "1", signature).decode(message, headers or {})


def values(signature: Signature, message: PredictRequest) -> dict[str, Any]:
    return values_of(signature, read(signature, message).tensors)


class TestReading:
    @pytest.mark.parametrize("datatype", sorted(NUMPY_TYPES))
    def test_takes_bytes_of_each_datatype(self, datatype: str) -> None:
        given = np.array([[1], [0]]).astype(NUMPY_TYPES[datatype])

        found = values(
            one_input(datatype),
            request(x=tensor(2, 1, dtype=DTYPES[datatype], tensor_content=given.tobytes())),
        )

        assert found == {"x": given.tolist()}

    @pytest.mark.parametrize("datatype", sorted(NUMPY_TYPES))
    def test_takes_values_of_each_datatype(self, datatype: str) -> None:
        given = np.array([[1], [0]]).astype(NUMPY_TYPES[datatype])
        stored = given.view(np.uint16) if datatype == "FP16" else given
        field = {FIELDS.get(datatype, "int_val"): stored.ravel().tolist()}

        assert values(one_input(datatype), request(x=tensor(2, 1, dtype=DTYPES[datatype], **field))) == {
            "x": given.tolist()
        }

    def test_repeats_the_last_value_until_the_shape_is_full(self) -> None:
        assert values(TABLE, request(X=tensor(2, 3, float_val=[1, 2]))) == {"X": [[1, 2, 2], [2, 2, 2]]}

    def test_repeats_it_only_so_often_as_memory_is_not_at_risk(self) -> None:
        wide = msgspec.structs.replace(TABLE, inputs=[TensorSpec("X", "FP32", [-1, 2_000])])

        with pytest.raises(TooManyRows, match="has 1 values and its shape asks for 2000000"):
            read(wide, request(X=tensor(1_000, 2_000, float_val=[0])))

    def test_takes_texts(self) -> None:
        message = request(
            amount=tensor(1, 1, float_val=[math.nan]),
            carrier=tensor(1, 1, dtype="DT_STRING", string_val=["Zürich".encode()]),
        )

        assert values(BY_FEATURE, message)["carrier"] == [["Zürich"]]

    @pytest.mark.parametrize(
        ("signature", "message", "part"),
        [
            pytest.param(TABLE, request(), "'X' is missing", id="nothing"),
            pytest.param(TABLE, request(Y=tensor(1, 3)), "no input 'Y'", id="unknown"),
            pytest.param(TABLE, request(signature="other"), "no signature 'other'", id="signature"),
            pytest.param(
                TABLE, request(X=tensor(1, 3, dtype="DT_DOUBLE")), "'FP64'; the model takes FP32", id="dtype"
            ),
            pytest.param(TABLE, request(X=tensor(1, 3, dtype=8)), "'DT_8'", id="complex"),
            pytest.param(TABLE, request(X=tensor(3, float_val=[1])), "takes \\[rows, 3\\]", id="rank"),
            pytest.param(TABLE, request(X=tensor(-1, 3, float_val=[1])), "has -1 rows", id="unknown rows"),
            pytest.param(TABLE, request(X=tensor(2**40, 3, float_val=[1])), "at most 10000", id="many rows"),
            pytest.param(TABLE, request(X=tensor(1, 3)), "has no values", id="no values"),
            pytest.param(TABLE, request(X=tensor(1, 3, float_val=[1] * 4)), "has 4 values", id="more values"),
            pytest.param(
                TABLE, request(X=tensor(1, 3, int_val=[1] * 3)), "int_val; values of FP32", id="field"
            ),
            pytest.param(
                TABLE,
                request(X=tensor(1, 3, float_val=[1], tensor_content=bytes(12))),
                "tensor_content and float_val",
                id="both",
            ),
            pytest.param(TABLE, request(X=tensor(1, 3, tensor_content=bytes(8))), "take 12", id="few bytes"),
            pytest.param(TABLE, request(X=tensor(1, 3, float_val=[math.inf])), "infinity", id="infinity"),
            pytest.param(
                one_input("INT8"),
                request(x=tensor(1, 1, dtype="DT_INT8", int_val=[128])),
                "INT8",
                id="too large",
            ),
            pytest.param(
                one_input("FP16"),
                request(x=tensor(1, 1, dtype="DT_HALF", half_val=[-1])),
                "16 bits",
                id="half",
            ),
            pytest.param(
                one_input("BYTES"),
                request(x=tensor(1, 1, dtype="DT_STRING", tensor_content=b"\1a")),
                "stand in string_val",
                id="texts as bytes",
            ),
            pytest.param(
                one_input("BYTES"),
                request(x=tensor(1, 1, dtype="DT_STRING", string_val=[b"\xff"])),
                "not UTF-8",
                id="no text",
            ),
            pytest.param(
                TABLE, request(X=tensor(1, 3, float_val=[1]), only=["Z"]), "no output 'Z'", id="output"
            ),
        ],
    )
    def test_refuses_what_does_not_fit(
        self, signature: Signature, message: PredictRequest, part: str
    ) -> None:
        with pytest.raises(InvalidRequest, match=part):
            read(signature, message)

    def test_keeps_to_the_call_s_deadline(self) -> None:
        message = request(X=tensor(1, 3, float_val=[1]))

        facts = read(
            TABLE, message, {TIMEOUT: b"1500u", b"driftline-timeout": b"9000", b"driftline-id": b"a"}
        ).facts

        assert (facts.timeout_us, facts.key) == (1500, "a")


class TestAnswers:
    def answer(self, signature: Signature, batch: Any, only: list[str] | None = None) -> Any:
        codec = TENSORFLOW_GRPC.compile("m", "7", signature)
        return codec.encode(batch, 0, 1, codec.decode(request(X=tensor(1, 3, float_val=[1]), only=only), {}))

    def test_hold_each_output_and_the_version(self) -> None:
        message = self.answer(CLASSES, COINS)

        assert (message.model_spec.name, message.model_spec.version.value) == ("m", 7)
        assert np.frombuffer(message.outputs["label"].tensor_content, "<i8").tolist() == [1]
        probabilities = message.outputs["probabilities"]
        assert [dim.size for dim in probabilities.tensor_shape.dim] == [1, 2]
        assert np.frombuffer(probabilities.tensor_content, "<f4").tolist() == [0.25, 0.75]

    def test_hold_the_outputs_that_are_asked_for(self) -> None:
        assert list(self.answer(CLASSES, COINS, only=["label"]).outputs) == ["label"]


class TestNaming:
    @pytest.mark.parametrize(
        ("spec", "target"),
        [
            (ModelSpec(name="m"), Target("m")),
            (ModelSpec(name="m", version={"value": 0}), Target("m")),
            (ModelSpec(name="m", version={"value": 2}), Target("m", "2")),
            (ModelSpec(name="m", version={"value": -1}), Target("m", "-1")),
            (ModelSpec(name="m", version_label="stable"), Target("m", label="stable")),
            (ModelSpec(name="a/b", version_label="x/y"), Target("a/b", label="x/y")),
        ],
    )
    def test_reads_the_version_or_the_label(self, spec: ModelSpec, target: Target) -> None:
        path = TENSORFLOW_GRPC.write_path(PredictRequest(model_spec=spec))

        assert read_spec(spec) == TENSORFLOW_GRPC.parse_path(path) == target

    def test_leaves_out_a_version_that_is_no_number(self) -> None:
        assert not metadata_message("m", "blue", TABLE).model_spec.HasField("version")


class TestDocuments:
    def test_describe_the_tensors(self) -> None:
        message = metadata_message("m", "2", BY_FEATURE)

        packed = message.metadata["signature_def"]
        signature = SignatureDefMap.FromString(packed.value).signature_def["serving_default"]
        assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        assert message.model_spec.version.value == 2
        assert DTYPES["BYTES"] == "DT_STRING"
        assert (signature.inputs["carrier"].dtype, signature.inputs["carrier"].name) == (7, "carrier")
        assert [dim.size for dim in signature.outputs["number"].tensor_shape.dim] == [-1, 1]

    def test_tell_the_state_of_each_version(self) -> None:
        message = status_message([VersionStatus("1", "AVAILABLE"), VersionStatus("2", "END", "broken")])

        told = [
            (status.version, status.state, status.status.error_code)
            for status in message.model_version_status
        ]
        assert told == [(1, 30, 0), (2, 50, 14)]
        assert message.model_version_status[1].status.error_message == "broken"
