"""TensorFlow Serving's gRPC services by gRPC's own client, against a running server."""

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from inference.protocol.prediction_service_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelSpec,
    PredictRequest,
    PredictResponse,
    TensorProto,
    TensorShapeProto,
)
from inference.serving.http.incoming_body import MAX_BODY_BYTES
from tests.inference.serving.grpc.calls import facts_of, open_channel
from tests.inference.serving.http.published_models import logged, publish_models
from tests.inference.serving.running import Server, running_server

pytestmark = pytest.mark.slow

PREDICT = "tensorflow.serving.PredictionService/Predict"
METADATA = "tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "tensorflow.serving.ModelService/GetModelStatus"
RESPONSES = {PREDICT: PredictResponse, METADATA: GetModelMetadataResponse, STATUS: GetModelStatusResponse}
SECONDS = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    publish_models(home)
    with running_server(home, grpc=True) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with open_channel(server.grpc_port) as opened:
        yield opened


def ask(
    channel: grpc.Channel,
    method: str,
    request: Message,
    token: str = "dl_infer",
    seconds: float = SECONDS,
    **metadata: str,
) -> Any:
    """Call a method; give the answer and the call that it came with."""
    call = channel.unary_unary(
        f"/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=RESPONSES.get(method, PredictResponse).FromString,
    )
    told = [("authorization", f"Bearer {token}")]
    told += [(f"driftline-{name}", value) for name, value in metadata.items()]
    return call.with_call(request, timeout=seconds, metadata=told)


def refused(channel: grpc.Channel, method: str, request: Message, **options: Any) -> grpc.Call:
    with pytest.raises(grpc.RpcError) as caught:
        ask(channel, method, request, **options)
    call: Any = caught.value
    return call


def predict(*values: float, model: str = "sums", name: str = "X", **spec: Any) -> PredictRequest:
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1), TensorShapeProto.Dim(size=len(values))])
    content = np.array(values, np.float32).tobytes()
    tensor = TensorProto(dtype="DT_FLOAT", tensor_shape=shape, tensor_content=content)
    return PredictRequest(model_spec=ModelSpec(name=model, **spec), inputs={name: tensor})


class TestPredict:
    def test_answers_and_logs(self, server: Server, channel: grpc.Channel) -> None:
        answer, call = ask(channel, PREDICT, predict(1, 2, 3))

        assert np.frombuffer(answer.outputs["sum"].tensor_content, "<f4").tolist() == [6]
        assert (answer.model_spec.name, answer.model_spec.version.value) == ("sums", 1)
        facts = facts_of(call)
        assert (facts["driftline-version"], facts["driftline-log"]) == ("1", "spooled")
        logged(server, facts["driftline-prediction-id"])

    def test_logs_what_the_metadata_says(self, server: Server, channel: grpc.Channel) -> None:
        _, call = ask(channel, PREDICT, predict(1, 2, 3), subject="eva", id="order-7", tags='{"a":"b"}')

        assert facts_of(call)["driftline-prediction-id"] == "order-7"
        batch, place = logged(server, "order-7")
        assert (batch.subjects[place], batch.tags[place]) == ("eva", {"a": "b"})

    @pytest.mark.parametrize(
        ("spec", "version"),
        [
            ({}, 1),
            ({"version": {"value": 0}}, 1),
            ({"version": {"value": 2}}, 2),
            ({"version_label": "tails"}, 2),
            ({"signature_name": "serving_default"}, 1),
        ],
    )
    def test_answers_with_the_version_that_is_named(
        self, channel: grpc.Channel, spec: dict[str, Any], version: int
    ) -> None:
        answer, call = ask(channel, PREDICT, predict(1, 2, 3, model="coins", **spec))

        assert answer.model_spec.version.value == version
        assert facts_of(call)["driftline-version"] == str(version)

    @pytest.mark.parametrize(
        ("request_", "code", "part"),
        [
            (predict(1, 2, 3, model="unknown"), "NOT_FOUND", "no model 'unknown'"),
            (predict(1, 2, 3, model="foreign"), "NOT_FOUND", "no model 'foreign'"),
            (predict(1, 2, 3, model=""), "NOT_FOUND", "no model ''"),
            (predict(1, 2, 3, model="sums/versions"), "NOT_FOUND", "no model"),
            (predict(1, 2, 3, version={"value": 9}), "NOT_FOUND", "no servable version '9'"),
            (predict(1, 2, 3, version_label="edge"), "NOT_FOUND", "no alias 'edge'"),
            (predict(1, 2, 3, model="empty"), "FAILED_PRECONDITION", "no champion"),
            (predict(1, 2), "INVALID_ARGUMENT", "takes [rows, 3]"),
            (predict(1, 2, 3, name="Z"), "INVALID_ARGUMENT", "no input 'Z'"),
            (predict(1, 2, 3, signature_name="x"), "INVALID_ARGUMENT", "no signature 'x'"),
            (predict(1, 2, float("inf")), "INVALID_ARGUMENT", "infinity"),
            (predict(-1, 2, 3, model="failing"), "INVALID_ARGUMENT", "cannot answer these values"),
        ],
    )
    def test_refuses_and_logs_nothing(
        self, server: Server, channel: grpc.Channel, request_: PredictRequest, code: str, part: str
    ) -> None:
        call = refused(channel, PREDICT, request_, subject="refused")

        assert call.code() == grpc.StatusCode[code]
        assert part in (call.details() or "")
        assert not any("refused" in (batch.subjects or ()) for batch in server.spooled())

    @pytest.mark.parametrize(
        ("token", "code"),
        [
            ("dl_nobody", "UNAUTHENTICATED"),
            ("dl_expired", "UNAUTHENTICATED"),
            ("dl_read", "PERMISSION_DENIED"),
        ],
    )
    def test_wants_a_token_that_may_infer(self, channel: grpc.Channel, token: str, code: str) -> None:
        assert refused(channel, PREDICT, predict(1, 2, 3), token=token).code() == grpc.StatusCode[code]

    def test_takes_no_empty_name_for_a_project_s_only_model(self, channel: grpc.Channel) -> None:
        call = refused(channel, PREDICT, predict(1, 2, 3, model=""), token="dl_theirs")

        assert call.code() == grpc.StatusCode.NOT_FOUND

    def test_ends_with_the_call_or_with_what_its_metadata_allow(self, channel: grpc.Channel) -> None:
        endless = predict(-1, 0, 0, model="endless")

        for options in ({"seconds": 0.3}, {"timeout": "300000"}):
            call = refused(channel, PREDICT, endless, **options)

            assert call.code() == grpc.StatusCode.DEADLINE_EXCEEDED

    def test_refuses_a_message_that_is_too_large(self, channel: grpc.Channel) -> None:
        request = PredictRequest(inputs={"X": TensorProto(tensor_content=bytes(MAX_BODY_BYTES + 1))})

        assert refused(channel, PREDICT, request).code() == grpc.StatusCode.RESOURCE_EXHAUSTED

    def test_refuses_what_is_no_message(self, channel: grpc.Channel) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(f"/{PREDICT}")(b"\xff\xff\xff", timeout=SECONDS)

        call: Any = caught.value
        assert call.code() == grpc.StatusCode.INVALID_ARGUMENT

    @pytest.mark.parametrize(
        "method",
        [
            "tensorflow.serving.PredictionService/Classify",
            "tensorflow.serving.PredictionService/GetModelStatus",
            "tensorflow.serving.ModelService/HandleReloadConfigRequest",
        ],
    )
    def test_says_which_methods_it_does_not_offer(self, channel: grpc.Channel, method: str) -> None:
        call = refused(channel, method, PredictRequest())

        assert call.code() == grpc.StatusCode.UNIMPLEMENTED
        assert "is not offered" in (call.details() or "")


class TestDescribing:
    def test_describes_a_version(self, channel: grpc.Channel) -> None:
        spec = ModelSpec(name="coins", version_label="tails")

        answer, _ = ask(
            channel, METADATA, GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
        )

        assert answer.model_spec.version.value == 2
        assert list(answer.metadata) == ["signature_def"]

    @pytest.mark.parametrize(
        ("spec", "states"),
        [
            (ModelSpec(name="coins"), {1: 30, 2: 30}),
            (ModelSpec(name="coins", version={"value": 2}), {2: 30}),
            (ModelSpec(name="sums"), {1: 30, 2: 10}),
        ],
    )
    def test_tells_the_state_of_versions(
        self, channel: grpc.Channel, spec: ModelSpec, states: dict[int, int]
    ) -> None:
        answer, _ = ask(channel, STATUS, GetModelStatusRequest(model_spec=spec), token="dl_read")

        assert {status.version: status.state for status in answer.model_version_status} == states

    @pytest.mark.parametrize(
        ("spec", "token", "code"),
        [
            (ModelSpec(name="foreign"), "dl_infer", "NOT_FOUND"),
            (ModelSpec(name="coins", version={"value": 9}), "dl_infer", "NOT_FOUND"),
            (ModelSpec(name="coins", version_label="edge"), "dl_infer", "NOT_FOUND"),
            (ModelSpec(), "dl_infer", "NOT_FOUND"),
            (ModelSpec(name="coins"), "dl_nobody", "UNAUTHENTICATED"),
        ],
    )
    def test_tells_no_more_than_it_may(
        self, channel: grpc.Channel, spec: ModelSpec, token: str, code: str
    ) -> None:
        metadata = GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])

        for method, request in ((STATUS, GetModelStatusRequest(model_spec=spec)), (METADATA, metadata)):
            assert refused(channel, method, request, token=token).code() == grpc.StatusCode[code]

    @pytest.mark.parametrize("fields", [[], ["graph"], ["signature_def", "graph"]])
    def test_has_one_kind_of_metadata(self, channel: grpc.Channel, fields: list[str]) -> None:
        request = GetModelMetadataRequest(model_spec=ModelSpec(name="sums"), metadata_field=fields)

        assert refused(channel, METADATA, request).code() == grpc.StatusCode.INVALID_ARGUMENT

    @pytest.mark.parametrize("service", ["PredictionService", "ModelService"])
    def test_says_that_its_services_are_healthy(self, channel: grpc.Channel, service: str) -> None:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )

        answer = check(
            health_pb2.HealthCheckRequest(service=f"tensorflow.serving.{service}"), timeout=SECONDS
        )

        assert answer.status == health_pb2.HealthCheckResponse.SERVING
