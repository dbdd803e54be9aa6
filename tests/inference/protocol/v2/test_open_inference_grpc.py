import math
from typing import Any

import numpy as np
import pytest

from inference.protocol.inference_service_pb2 import InferParameter, ModelInferRequest, ModelInferResponse
from inference.protocol.results import BatchOutputs
from inference.protocol.v2.open_inference_grpc import OPEN_INFERENCE_GRPC, TIMEOUT, GrpcCodec
from inference.protocol.v2.tensors import NUMPY_TYPES, InvalidRequest, TensorCodec
from inference.signatures import Signature, TensorSpec

TYPED = sorted({*NUMPY_TYPES} - {"FP16"})
FIELDS = {
    "BOOL": "bool",
    "INT64": "int64",
    "UINT64": "uint64",
    "FP32": "fp32",
    "FP64": "fp64",
    "BYTES": "bytes",
}


def codec(
    *inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = (TensorSpec("Y", "FP32", [-1, 2]),)
) -> GrpcCodec:
    signature = Signature(
        features=[],
        inputs=list(inputs) or [TensorSpec("X", "FP32", [-1, 2])],
        outputs=list(outputs),
        prediction_output=None,
        probabilities_output="Y",
        classes=["no", "yes"],
        positive_class="yes",
        missing={},
        task="binary",
    )
    return GrpcCodec("sums", "3", signature)


def message(*shape: int, raw: bytes | None = None, **tensor: Any) -> ModelInferRequest:
    described = {"name": "X", "datatype": "FP32", **tensor}
    return ModelInferRequest(
        model_name="sums",
        inputs=[ModelInferRequest.InferInputTensor(shape=shape, **described)],
        raw_input_contents=[] if raw is None else [raw],
    )


def contents_of(datatype: str, values: list[Any]) -> dict[str, list[Any]]:
    field = FIELDS.get(datatype) or ("uint" if datatype.startswith("UINT") else "int")
    return {f"{field}_contents": values}


def joined(reader: GrpcCodec, request: ModelInferRequest, spec: TensorSpec) -> list[Any]:
    return TensorCodec(spec, None).join(reader.decode(request, {}).tensors).tolist()


class TestReading:
    @pytest.mark.parametrize("datatype", sorted(NUMPY_TYPES))
    def test_takes_raw_values_of_each_datatype(self, datatype: str) -> None:
        spec = TensorSpec("X", datatype, [-1, 2])
        values = np.array([[1, 0], [0, 1]]).astype(NUMPY_TYPES[datatype])

        request = message(2, 2, raw=values.tobytes(), datatype=datatype)

        assert joined(codec(spec), request, spec) == values.tolist()

    @pytest.mark.parametrize("datatype", TYPED)
    def test_takes_typed_values_of_each_datatype(self, datatype: str) -> None:
        spec = TensorSpec("X", datatype, [-1, 2])
        values = np.array([[1, 0], [0, 1]]).astype(NUMPY_TYPES[datatype])

        request = message(2, 2, datatype=datatype, contents=contents_of(datatype, values.ravel().tolist()))

        assert joined(codec(spec), request, spec) == values.tolist()

    def test_takes_texts_both_ways(self) -> None:
        spec = TensorSpec("X", "BYTES", [-1, 1])
        typed = message(2, 1, datatype="BYTES", contents={"bytes_contents": [b"a", "ü".encode()]})
        raw = message(2, 1, datatype="BYTES", raw=b"\1\0\0\0a\2\0\0\0\xc3\xbc")

        assert joined(codec(spec), typed, spec) == joined(codec(spec), raw, spec) == [["a"], ["ü"]]

    def test_takes_inputs_in_any_order_each_with_its_own_bytes(self) -> None:
        first, second = TensorSpec("A", "INT32", [-1, 1]), TensorSpec("B", "FP64", [-1, 1])
        request = ModelInferRequest(
            inputs=[
                ModelInferRequest.InferInputTensor(name="B", datatype="FP64", shape=[1, 1]),
                ModelInferRequest.InferInputTensor(name="A", datatype="INT32", shape=[1, 1]),
            ],
            raw_input_contents=[np.float64(0.5).tobytes(), np.int32(7).tobytes()],
        )

        tensors = codec(first, second).decode(request, {}).tensors

        assert tensors == [np.int32(7).tobytes(), np.float64(0.5).tobytes()]

    def test_keeps_the_request_s_own_id_and_parameters(self) -> None:
        request = message(1, 2, raw=bytes(8))
        request.id = "mine"
        request.parameters["driftline_id"].string_param = "key-1"
        request.parameters["priority"].uint64_param = 2

        read = codec().decode(request, {})

        assert (read.client_id, read.facts.key, read.facts.priority) == ("mine", "key-1", 2)

    @pytest.mark.parametrize(("own", "deadline", "left"), [(0, 700, 700), (500, 700, 500), (900, 700, 700)])
    def test_waits_no_longer_than_the_deadline_and_the_timeout_allow(
        self, own: int, deadline: int, left: int
    ) -> None:
        request = message(1, 2, raw=bytes(8))
        request.parameters["timeout"].int64_param = own

        read = codec().decode(request, {TIMEOUT: b"%du" % deadline})

        assert read.facts.timeout_us == left

    @pytest.mark.parametrize("datatype", ["FP32", "FP64"])
    @pytest.mark.parametrize("value", [math.inf, -math.inf])
    def test_refuses_infinity_both_ways_and_takes_nan(self, datatype: str, value: float) -> None:
        spec = TensorSpec("X", datatype, [-1, 2])
        typed, missing = (
            message(1, 2, datatype=datatype, contents=contents_of(datatype, [1.0, second]))
            for second in (value, math.nan)
        )
        raw = message(1, 2, datatype=datatype, raw=np.array([1.0, value], NUMPY_TYPES[datatype]).tobytes())

        for infinite in (typed, raw):
            with pytest.raises(InvalidRequest, match="'X' holds infinity at place 1"):
                codec(spec).decode(infinite, {})
        assert math.isnan(joined(codec(spec), missing, spec)[0][1])

    @pytest.mark.parametrize(
        ("request_message", "sentence"),
        [
            (ModelInferRequest(), "has no inputs"),
            (message(1, 2, name="Z", raw=bytes(8)), "no input 'Z'; its inputs are 'X'"),
            (message(1, 2, datatype="FP64", raw=bytes(16)), "datatype 'FP64'; the model takes FP32"),
            (message(1, 3, raw=bytes(12)), r"shape \[1, 3\]; the model takes \[rows, 2\]"),
            (message(0, 2, raw=b""), "0 rows; send at least one"),
            (message(-1, 2, raw=b""), "-1 rows; send at least one"),
            (message(10_001, 2, raw=bytes(80_008)), "send at most 10000"),
            (message(1, 2, raw=bytes(7)), "has 7 bytes; 2 values of FP32 take 8"),
            (
                message(1, 2, raw=bytes(8), contents={"fp32_contents": [1, 2]}),
                "contents beside raw_input_contents",
            ),
            (message(1, 2, contents={"fp32_contents": [1]}), "has 1 values and its shape asks for 2"),
            (message(1, 2), "has 0 values and its shape asks for 2"),
            (
                message(1, 2, contents={"fp64_contents": [1, 2]}),
                "has fp64_contents; values of FP32 stand in fp32",
            ),
            (
                message(
                    1, 2, raw=bytes(8), parameters={"shared_memory_region": InferParameter(string_param="r")}
                ),
                "Shared memory is not offered",
            ),
        ],
    )
    def test_says_what_does_not_fit(self, request_message: ModelInferRequest, sentence: str) -> None:
        with pytest.raises(InvalidRequest, match=sentence):
            codec().decode(request_message, {})

    def test_says_that_half_precision_has_to_be_raw(self) -> None:
        spec = TensorSpec("X", "FP16", [-1, 2])

        with pytest.raises(InvalidRequest, match="which has no contents; send raw_input_contents"):
            codec(spec).decode(message(1, 2, datatype="FP16", contents={"fp32_contents": [1, 2]}), {})

    def test_says_which_value_is_too_large_for_its_datatype(self) -> None:
        spec = TensorSpec("X", "INT8", [-1, 2])

        with pytest.raises(InvalidRequest, match="holds 300 at place 1, which is not a value of INT8"):
            codec(spec).decode(message(1, 2, datatype="INT8", contents={"int_contents": [1, 300]}), {})

    def test_wants_bytes_for_each_input_or_for_none(self) -> None:
        request = message(1, 2, raw=bytes(8))
        request.raw_input_contents.append(b"")

        with pytest.raises(InvalidRequest, match="1 inputs and 2 raw_input_contents"):
            codec().decode(request, {})

    def test_refuses_an_input_that_comes_twice(self) -> None:
        request = message(1, 2, contents={"fp32_contents": [1, 2]})
        request.inputs.append(request.inputs[0])

        with pytest.raises(InvalidRequest, match="'X' comes twice"):
            codec().decode(request, {})

    def test_refuses_outputs_that_are_not_there_or_asked_for_twice(self) -> None:
        for names, sentence in ((["Z"], "no output 'Z'"), (["Y", "Y"], "asked for twice")):
            request = message(1, 2, raw=bytes(8))
            for name in names:
                request.outputs.add(name=name)
            with pytest.raises(InvalidRequest, match=sentence):
                codec().decode(request, {})


class TestAnswering:
    BATCH = np.array([[0.25, 0.75], [math.nan, -math.inf], [0.5, 0.5]], dtype=np.float32)

    def answer(self, request: ModelInferRequest, writer: GrpcCodec, *arrays: Any) -> ModelInferResponse:
        read = writer.decode(request, {})
        answer = writer.encode(BatchOutputs(arrays), 0, read.rows, read)
        return ModelInferResponse.FromString(answer.SerializeToString())

    def test_mirrors_raw_values(self) -> None:
        answer = self.answer(message(3, 2, raw=bytes(24)), codec(), self.BATCH)

        assert (answer.model_name, answer.model_version) == ("sums", "3")
        assert list(answer.outputs[0].shape) == [3, 2]
        assert answer.raw_output_contents[0] == self.BATCH.tobytes()
        assert not answer.outputs[0].HasField("contents")

    def test_mirrors_typed_values_numbers_that_are_not_finite_included(self) -> None:
        request = message(3, 2, contents={"fp32_contents": [0] * 6})

        answer = self.answer(request, codec(), self.BATCH)

        assert str(list(answer.outputs[0].contents.fp32_contents)) == "[0.25, 0.75, nan, -inf, 0.5, 0.5]"
        assert not answer.raw_output_contents

    @pytest.mark.parametrize("datatype", [*TYPED, "BYTES"])
    def test_answers_each_datatype_in_its_field(self, datatype: str) -> None:
        writer = codec(outputs=(TensorSpec("Y", datatype, [-1, 2]),))
        values: Any = (
            np.array([["a", "b"]], object)
            if datatype == "BYTES"
            else np.array([[0, 1]], NUMPY_TYPES[datatype])
        )

        answer = self.answer(message(1, 2, contents={"fp32_contents": [0, 0]}), writer, values)

        ((field, held),) = answer.outputs[0].contents.ListFields()
        assert {field.name: list(held)} == contents_of(
            datatype, [b"a", b"b"] if datatype == "BYTES" else [0, 1]
        )

    def test_answers_half_precision_raw_whatever_the_request_was(self) -> None:
        writer = codec(outputs=(TensorSpec("Y", "FP16", [-1, 2]),))
        halves = np.array([[0.5, 1]], np.float16)

        answer = self.answer(message(1, 2, contents={"fp32_contents": [0, 0]}), writer, halves)

        assert answer.raw_output_contents[0] == halves.tobytes()

    def test_gives_the_outputs_asked_for_in_the_order_asked_for(self) -> None:
        writer = codec(outputs=(TensorSpec("Y", "FP32", [-1, 1]), TensorSpec("label", "INT64", [-1])))
        request = message(1, 2, raw=bytes(8))
        request.id = "mine"
        for name in ("label", "Y"):
            request.outputs.add(name=name)

        answer = self.answer(request, writer, np.float32([[0.5]]), np.array([7]))

        assert [output.name for output in answer.outputs] == ["label", "Y"]
        assert answer.raw_output_contents == [np.int64(7).tobytes(), np.float32(0.5).tobytes()]
        assert answer.id == "mine"

    def test_cuts_its_rows_out_of_the_batch(self) -> None:
        writer = codec()
        read = writer.decode(message(1, 2, raw=bytes(8)), {})

        answer = writer.encode(BatchOutputs([self.BATCH]), 2, 3, read)

        assert answer.raw_output_contents[0] == np.float32([0.5, 0.5]).tobytes()

    def test_names_the_highest_classes_on_demand(self) -> None:
        request = message(1, 2, contents={"fp32_contents": [0, 0]})
        request.outputs.add(name="Y").parameters["classification"].int64_param = 1

        answer = self.answer(request, codec(), self.BATCH[:1])

        assert answer.outputs[0].datatype == "BYTES"
        assert list(answer.outputs[0].contents.bytes_contents) == [b"0.750000:1:yes"]


class TestPaths:
    @pytest.mark.parametrize(
        ("model", "version"), [("sums", ""), ("sums", "3"), ("a/b", "c/d"), ("", ""), ("\0%", "ü")]
    )
    def test_name_the_model_and_version_whatever_they_hold(self, model: str, version: str) -> None:
        request = ModelInferRequest(model_name=model, model_version=version)

        target = OPEN_INFERENCE_GRPC.parse_path(OPEN_INFERENCE_GRPC.write_path(request))

        assert (target.model, target.version) == (model, version or None)
