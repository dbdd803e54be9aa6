"""Inference over gRPC by gRPC's own client, against a running server."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from inference.protocol import inference_service_pb2 as messages
from inference.protocol.inference_service_pb2 import ModelInferRequest, ModelInferResponse
from inference.serving.http.incoming_body import MAX_BODY_BYTES
from inference.serving.main import serve_forever
from inference.serving.plan import PlanModel
from tests.inference.onnx_models import classifier_signature, constant_classifier, store
from tests.inference.serving.conftest import publish_everything
from tests.inference.serving.grpc.calls import SECONDS, SERVICE, ask, facts_of, infer_request, open_channel
from tests.inference.serving.running import Server, publish, running_server, token
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def grpc_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    publish_everything(home)
    with running_server(home, grpc=True) as running:
        yield running


@pytest.fixture(scope="module")
def channel(grpc_server: Server) -> Iterator[grpc.Channel]:
    with open_channel(grpc_server.grpc_port) as opened:
        yield opened


def refused(channel: grpc.Channel, method: str, request: Message, **options: Any) -> grpc.Call:
    with pytest.raises(grpc.RpcError) as caught:
        ask(channel, method, request, **options)
    call: Any = caught.value
    return call


class TestModelInfer:
    def test_answers_raw_values_with_raw_values(self, channel: grpc.Channel) -> None:
        answer, _ = ask(channel, "ModelInfer", infer_request("sums", [1, 2, 3], [4, 5, 6]))

        assert (answer.model_name, answer.model_version) == ("sums", "1")
        assert list(answer.outputs[0].shape) == [2, 1]
        assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == [6, 15]

    def test_answers_typed_values_with_typed_values(self, channel: grpc.Channel) -> None:
        answer, _ = ask(channel, "ModelInfer", infer_request("sums", [1, 2, 3], raw=False))

        assert list(answer.outputs[0].contents.fp32_contents) == [6]
        assert not answer.raw_output_contents

    def test_says_what_it_logged_in_metadata_and_parameters(
        self, grpc_server: Server, channel: grpc.Channel
    ) -> None:
        answer, call = ask(channel, "ModelInfer", infer_request("coins", [1, 2, 3]))

        facts = facts_of(call)
        assert (facts["driftline-version"], facts["driftline-generation"]) == ("1", "6")
        assert facts["driftline-log"] == "spooled"
        prediction_id = facts["driftline-prediction-id"]
        assert answer.parameters["driftline_prediction_id"].string_param == prediction_id
        assert any(prediction_id in batch.ids for batch in grpc_server.spooled("champion"))

    def test_answers_the_version_asked_for(self, channel: grpc.Channel) -> None:
        answer, call = ask(channel, "ModelInfer", infer_request("coins", [1, 2, 3], version="2"))

        assert answer.model_version == facts_of(call)["driftline-version"] == "2"
        assert np.frombuffer(answer.raw_output_contents[1], "<f4").tolist() == [0.25, 0.75]

    def test_takes_many_calls_at_once_on_one_connection(self, channel: grpc.Channel) -> None:
        infer = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=ModelInferRequest.SerializeToString,
            response_deserializer=ModelInferResponse.FromString,
        )
        metadata = [("authorization", "Bearer dl_infer")]

        calls = [
            infer.future(infer_request("sums", [place, 0, 0]), timeout=SECONDS, metadata=metadata)
            for place in range(200)
        ]

        answers = [np.frombuffer(call.result().raw_output_contents[0], "<f4")[0] for call in calls]
        assert answers == list(range(200))


class TestRefusing:
    @pytest.mark.parametrize("token", [None, "dl_nobody", "dl_expired"])
    def test_wants_a_token(self, channel: grpc.Channel, token: str | None) -> None:
        call = refused(channel, "ModelInfer", infer_request("sums", [1, 2, 3]), token=token)

        assert call.code() == grpc.StatusCode.UNAUTHENTICATED

    def test_takes_a_token_behind_spaces(self, channel: grpc.Channel) -> None:
        answer = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=messages.ModelInferRequest.SerializeToString,
            response_deserializer=messages.ModelInferResponse.FromString,
        )(infer_request("sums", [1, 2, 3]), metadata=[("authorization", "  Bearer dl_infer")])

        assert answer.model_name == "sums"

    def test_wants_the_scope_to_infer(self, channel: grpc.Channel) -> None:
        call = refused(channel, "ModelInfer", infer_request("sums", [1, 2, 3]), token="dl_read")

        assert call.code() == grpc.StatusCode.PERMISSION_DENIED
        assert "lacks the scope 'infer'" in call.details()

    @pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata", "ModelReady"])
    def test_knows_another_project_s_model_as_little_as_nobody_s(
        self, channel: grpc.Channel, method: str
    ) -> None:
        def named(name: str) -> Message:
            field = "model_name" if method == "ModelInfer" else "name"
            return getattr(messages, f"{method}Request")(**{field: name})

        foreign, unknown = (refused(channel, method, named(name)) for name in ("foreign", "unknown"))

        assert foreign.code() == unknown.code() == grpc.StatusCode.NOT_FOUND
        assert foreign.details().replace("foreign", "unknown") == unknown.details()

    @pytest.mark.parametrize("name", ["", "sums/versions/1", "sums/ready", "../sums", "\n"])
    def test_takes_no_path_for_a_model_s_name(self, channel: grpc.Channel, name: str) -> None:
        for method, request in (
            ("ModelInfer", infer_request(name, [1, 2, 3])),
            ("ModelMetadata", messages.ModelMetadataRequest(name=name)),
        ):
            assert refused(channel, method, request).code() == grpc.StatusCode.NOT_FOUND

    def test_refuses_an_unknown_version(self, channel: grpc.Channel) -> None:
        call = refused(channel, "ModelInfer", infer_request("sums", [1, 2, 3], version="9"))

        assert call.code() == grpc.StatusCode.NOT_FOUND

    def test_refuses_a_model_without_a_champion(self, channel: grpc.Channel) -> None:
        call = refused(channel, "ModelInfer", infer_request("empty", [1, 2, 3]))

        assert call.code() == grpc.StatusCode.FAILED_PRECONDITION

    def test_says_what_does_not_fit_and_which_version_it_does_not_fit(self, channel: grpc.Channel) -> None:
        call = refused(channel, "ModelInfer", infer_request("sums", [1, 2]))

        assert call.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert call.details() == "Input 'X' has the shape [1, 2]; the model takes [rows, 3]."
        assert facts_of(call)["driftline-version"] == "1"

    def test_refuses_old_event_times_without_the_scope_for_them(self, channel: grpc.Channel) -> None:
        request = infer_request("sums", [1, 2, 3])
        request.parameters["driftline_timestamp"].string_param = "2020-01-01T00:00:00Z"

        assert refused(channel, "ModelInfer", request).code() == grpc.StatusCode.PERMISSION_DENIED
        assert ask(channel, "ModelInfer", request, token="dl_backfill")

    def test_refuses_a_message_that_is_too_large(self, channel: grpc.Channel) -> None:
        request = ModelInferRequest(model_name="sums", raw_input_contents=[bytes(MAX_BODY_BYTES + 1)])

        assert refused(channel, "ModelInfer", request).code() == grpc.StatusCode.RESOURCE_EXHAUSTED

    def test_refuses_what_is_no_message(self, channel: grpc.Channel) -> None:
        call = channel.unary_unary(f"/{SERVICE}/ModelInfer")

        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff\xff", timeout=SECONDS)

        assert isinstance(caught.value, grpc.Call)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT

    @pytest.mark.parametrize(
        "method", ["ModelStreamInfer", "RepositoryModelLoad", "SystemSharedMemoryRegister"]
    )
    def test_says_which_methods_it_does_not_offer(self, channel: grpc.Channel, method: str) -> None:
        call = refused(channel, method, messages.ServerLiveRequest(), response=messages.ServerLiveResponse)

        assert call.code() == grpc.StatusCode.UNIMPLEMENTED
        assert f"'{method}' is not offered" in call.details()


class TestDescribing:
    def test_is_live_and_ready_for_everybody(self, channel: grpc.Channel) -> None:
        assert ask(channel, "ServerLive", messages.ServerLiveRequest(), token=None)[0].live
        assert ask(channel, "ServerReady", messages.ServerReadyRequest(), token=None)[0].ready

    @pytest.mark.parametrize("service", ["", SERVICE])
    def test_answers_the_health_protocol(self, channel: grpc.Channel, service: str) -> None:
        answer, _ = ask(
            channel,
            "Check",
            health_pb2.HealthCheckRequest(service=service),
            token=None,
            response=health_pb2.HealthCheckResponse,
            path="/grpc.health.v1.Health/Check",
        )

        assert answer.status == health_pb2.HealthCheckResponse.SERVING

    def test_describes_the_server(self, channel: grpc.Channel) -> None:
        answer, _ = ask(channel, "ServerMetadata", messages.ServerMetadataRequest())

        assert answer.name == "driftline"

    def test_describes_a_model(self, channel: grpc.Channel) -> None:
        answer, _ = ask(channel, "ModelMetadata", messages.ModelMetadataRequest(name="echoes"))

        assert (answer.name, list(answer.versions)) == ("echoes", ["1"])
        assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in answer.inputs] == [
            ("amount", "FP32", [-1, 1]),
            ("carrier", "BYTES", [-1, 1]),
        ]

    @pytest.mark.parametrize(
        ("name", "version", "ready"), [("coins", "", True), ("coins", "2", True), ("empty", "", False)]
    )
    def test_says_which_models_are_ready(
        self, channel: grpc.Channel, name: str, version: str, ready: bool
    ) -> None:
        answer, _ = ask(channel, "ModelReady", messages.ModelReadyRequest(name=name, version=version))

        assert answer.ready == ready

    def test_gives_the_configuration_that_http_gives(self, channel: grpc.Channel) -> None:
        answer, _ = ask(channel, "ModelConfig", messages.ModelConfigRequest(name="echoes"))

        config = answer.config
        assert (config.name, config.max_batch_size) == ("echoes", 10_000)
        assert [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in config.input] == [
            ("amount", messages.TYPE_FP32, [1]),
            ("carrier", messages.TYPE_STRING, [1]),
        ]

    def test_counts_what_it_answered(self, channel: grpc.Channel) -> None:
        ask(channel, "ModelInfer", infer_request("coins", [1, 2, 3], [4, 5, 6]))

        def counted() -> int:
            answer, _ = ask(
                channel, "ModelStatistics", messages.ModelStatisticsRequest(name="coins", version="1")
            )
            (statistics,) = answer.model_stats
            return int(statistics.inference_count)

        wait_until(lambda: counted() >= 2)

    def test_lists_the_versions_of_its_project(self, channel: grpc.Channel) -> None:
        answer, _ = ask(channel, "RepositoryIndex", messages.RepositoryIndexRequest(ready=True))

        listed = {model.name for model in answer.models if model.state == "READY"}
        assert {"sums", "coins", "echoes"} <= listed
        assert not {"empty", "foreign"} & listed

    def test_describes_models_to_holders_of_a_token_only(self, channel: grpc.Channel) -> None:
        call = refused(channel, "ModelMetadata", messages.ModelMetadataRequest(name="sums"), token=None)

        assert call.code() == grpc.StatusCode.UNAUTHENTICATED


class TestServing:
    def test_shares_its_port_among_all_workers(self, tmp_path: Path) -> None:
        publish_everything(tmp_path)
        with running_server(tmp_path, workers=2, grpc=True) as server:

            def has_reached_both() -> bool:
                with open_channel(server.grpc_port) as channel:
                    ask(channel, "ModelInfer", infer_request("sums", [1, 2, 3]))
                return all(rows_answered(status) for status in server.status_files())

            wait_until(has_reached_both)

    def test_loses_no_call_that_it_took_when_it_is_stopped(self, tmp_path: Path) -> None:
        slow = store(
            tmp_path, constant_classifier(0.25, 3, slowness=3), classifier_signature(3), id=1, version="1"
        )
        publish(tmp_path, [PlanModel(1, 1, "slow", 1, "1", [], [slow])], [token("dl_infer")])
        with running_server(tmp_path, grpc=True) as server:
            callers = [Caller(server.grpc_port) for _ in range(8)]
            wait_until(lambda: all(len(caller.answered) > 3 for caller in callers))

            server.stop()

            codes = {caller.ended_with() for caller in callers}
            answered = [prediction_id for caller in callers for prediction_id in caller.answered]
            logged = [prediction_id for batch in server.spooled() for prediction_id in batch.ids]
        # A call that comes in the very moment of the stop is refused either way, and was not taken.
        assert codes <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        assert sorted(answered) == sorted(logged)

    def test_is_not_there_where_it_is_turned_off(self, server: Server) -> None:
        pids = [status["pid"] for status in server.status_files()]

        loaded = [Path(f"/proc/{pid}/maps").read_text() for pid in pids]

        assert loaded
        assert not any("cygrpc" in maps for maps in loaded)

    def test_does_not_start_on_a_port_that_somebody_shares(self, tmp_path: Path) -> None:
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            taken.bind(("127.0.0.1", 0))
            taken.listen()

            with pytest.raises(OSError, match="is taken or not ours: Address already in use"):
                serve_forever(tmp_path, "127.0.0.1", free_port(), grpc_port=taken.getsockname()[1])


def rows_answered(status: dict[str, Any]) -> int:
    return sum(series["rows"] for series in status["series"].values())


class Caller:
    """Asks again and again until the server refuses; notes the ids of the answers."""

    def __init__(self, port: int) -> None:
        self.answered: list[str] = []
        self._code: grpc.StatusCode | None = None
        self._thread = threading.Thread(target=self._run, args=(port,))
        self._thread.start()

    def _run(self, port: int) -> None:
        with open_channel(port) as channel:
            try:
                while True:
                    answer, _ = ask(channel, "ModelInfer", infer_request("slow", [1, 2, 3]))
                    self.answered.append(answer.parameters["driftline_prediction_id"].string_param)
            except grpc.RpcError as refusal:
                call: Any = refusal
                self._code = call.code()

    def ended_with(self) -> grpc.StatusCode | None:
        self._thread.join(SECONDS)
        return self._code
