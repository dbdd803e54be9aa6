"""The inference protocols over gRPC, in the event loop of a serving process.

Imported only where its port is on: grpcio takes about 20 MB and 0.2 s.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf import json_format
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from inference.protocol import inference_service_pb2 as messages
from inference.protocol.inference_service_pb2 import ModelInferRequest, ModelInferResponse
from inference.protocol.v2.open_inference_grpc import OPEN_INFERENCE_GRPC
from inference.serving.callers import InferenceCaller
from inference.serving.certificate import CertificateContents, CertificateFiles
from inference.serving.descriptions.metadata import describe
from inference.serving.descriptions.repository import control
from inference.serving.descriptions.statistics import statistics
from inference.serving.engine.engine import Engine
from inference.serving.grpc.calls import Context, ask_engine, caller_of, not_offered, refuse, unary
from inference.serving.grpc.tensorflow import MODEL_SERVICE, PREDICTION_SERVICE, TensorFlowHandlers
from inference.serving.http.incoming_body import MAX_BODY_BYTES
from inference.serving.refusals import Refusal
from inference.serving.responses import Answer

SERVICE = "inference.GRPCInferenceService"
MAX_CALLS = 4096  # at once, for each of which a message of MAX_BODY_BYTES may be in memory


class GrpcServer:
    """The server of one process; it shares its port with those of the others."""

    def __init__(self, engine: Engine, address: str, certificate: CertificateFiles | None = None) -> None:
        """Make a server for "host:port" in the running event loop; OSError where the port is taken.

        With a certificate it speaks TLS alone.
        """
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", MAX_BODY_BYTES),
                ("grpc.max_send_message_length", -1),
            ],
            maximum_concurrent_rpcs=MAX_CALLS,
        )
        self._server.add_generic_rpc_handlers([_Handlers(engine), TensorFlowHandlers(engine)])
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            if certificate is None:
                self._server.add_insecure_port(address)
            else:
                self._server.add_secure_port(address, _credentials(certificate))
        except RuntimeError as error:
            raise OSError(
                f"gRPC cannot listen on {address}; set DRIFTLINE_GRPC_PORT to a free port."
            ) from error

    async def start(self) -> None:
        """Take calls from now on."""
        for service in ("", SERVICE, PREDICTION_SERVICE, MODEL_SERVICE):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()

    async def drain(self, grace_seconds: float) -> None:
        """Take no more calls, and answer those under way."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_seconds)


def _credentials(files: CertificateFiles) -> grpc.ServerCredentials:
    """Return credentials that ask for the newest files before each handshake."""
    used = files.contents

    def find_changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal used
        if used is files.contents:
            return None
        used = files.contents
        return _configuration(used)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(used),
        find_changed,  # type: ignore[arg-type]  # None: no change
        require_client_authentication=files.requires_client_certificate,
    )


def _configuration(contents: CertificateContents) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(contents.key, contents.chain)], contents.client_authorities
    )


class _Handlers(grpc.GenericRpcHandler):
    """Finds what answers a call of the service; a method that is not offered is refused in a sentence."""

    def __init__(self, engine: Engine) -> None:
        self._methods = {
            "ModelInfer": unary(ModelInferRequest, _infer_with(engine)),
            **{method: _document(engine, method) for method in _DOCUMENTS},
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        service, _, method = handler_call_details.method.removeprefix("/").partition("/")
        if service != SERVICE:
            return None
        return self._methods.get(method) or not_offered(method)


# Inference


def _infer_with(engine: Engine) -> Callable[[ModelInferRequest, Context], Awaitable[ModelInferResponse]]:
    async def infer(message: ModelInferRequest, context: Context) -> ModelInferResponse:
        path = OPEN_INFERENCE_GRPC.write_path(message)
        result = await ask_engine(engine, OPEN_INFERENCE_GRPC, path, message, context)
        result.content.parameters["driftline_prediction_id"].string_param = result.prediction_id
        return result.content

    return infer


# What HTTP answers below /v2, as messages: the documents have the same fields


def _document(engine: Engine, method: str) -> Any:
    request, response = getattr(messages, f"{method}Request"), getattr(messages, f"{method}Response")
    find = _DOCUMENTS[method]

    async def answer(message: Any, context: Context) -> Message:
        if "/" in getattr(message, "name", "") + getattr(message, "version", ""):
            await refuse(context, Refusal(404, "There is no model of this name in this project."))
        result = await find(engine, message, caller_of(context))
        if isinstance(result, Refusal):
            await refuse(context, result)
        field = _ONLY_FIELDS.get(method)
        document = b'{"%b":%b}' % (field, result.body) if field else result.body
        return json_format.Parse(document, response(), ignore_unknown_fields=True)

    return unary(request, answer)


def _described(path_of: Callable[[Any], str]) -> "Find":
    async def find(engine: Engine, message: Any, caller: InferenceCaller) -> Answer | Refusal:
        return describe(engine.table, path_of(message), caller, is_ready=engine.is_ready)

    return find


async def _find_statistics(engine: Engine, message: Any, caller: InferenceCaller) -> Answer | Refusal:
    path = f"{_model_path(message)}/stats" if message.name else "/v2/models/stats"
    return await asyncio.to_thread(statistics, engine.home, engine.table, path, caller)


async def _find_index(engine: Engine, message: Any, caller: InferenceCaller) -> Answer | Refusal:
    wanted = b'{"ready":true}' if message.ready else b""
    return control(engine.table, "/v2/repository/index", caller, wanted)


def _model_path(message: Any) -> str:
    version = f"/versions/{message.version}" if message.version else ""
    return f"/v2/models/{message.name}{version}"


type Find = Callable[[Engine, Any, InferenceCaller], Awaitable[Answer | Refusal]]

_DOCUMENTS: dict[str, Find] = {
    "ServerLive": _described(lambda _: "/v2/health/live"),
    "ServerReady": _described(lambda _: "/v2/health/ready"),
    "ServerMetadata": _described(lambda _: "/v2"),
    "ModelReady": _described(lambda message: f"{_model_path(message)}/ready"),
    "ModelMetadata": _described(_model_path),
    "ModelConfig": _described(lambda message: f"{_model_path(message)}/config"),
    "ModelStatistics": _find_statistics,
    "RepositoryIndex": _find_index,
}
_ONLY_FIELDS = {"ModelConfig": b"config", "RepositoryIndex": b"models"}  # whose document is the one field
