"""TensorFlow Serving's gRPC services, on the port of the Open Inference Protocol."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import Message

from driftline.base.accounts.access.scopes import Scope
from inference.protocol.prediction_service_pb2 import (
    GetModelMetadataRequest,
    GetModelStatusRequest,
    ModelSpec,
    PredictRequest,
)
from inference.protocol.tensorflow.tensorflow_grpc import (
    TENSORFLOW_GRPC,
    metadata_message,
    read_spec,
    status_message,
)
from inference.serving.descriptions.v1_metadata import find_described, find_statuses
from inference.serving.engine.engine import Engine
from inference.serving.grpc.calls import Context, ask_engine, caller_of, not_offered, refuse, unary
from inference.serving.refusals import Refusal

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"


class TensorFlowHandlers(grpc.GenericRpcHandler):
    """Finds the handler of a method; those of the services that we do not offer say so in a sentence."""

    def __init__(self, engine: Engine) -> None:
        self._methods = {
            (PREDICTION_SERVICE, "Predict"): unary(PredictRequest, _predict_with(engine)),
            (PREDICTION_SERVICE, "GetModelMetadata"): unary(GetModelMetadataRequest, _metadata_with(engine)),
            (MODEL_SERVICE, "GetModelStatus"): unary(GetModelStatusRequest, _status_with(engine)),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        service, _, method = handler_call_details.method.removeprefix("/").partition("/")
        if service not in (PREDICTION_SERVICE, MODEL_SERVICE):
            return None
        return self._methods.get((service, method)) or not_offered(method)


def _predict_with(engine: Engine) -> Callable[[PredictRequest, Context], Awaitable[Message]]:
    async def predict(message: PredictRequest, context: Context) -> Message:
        path = TENSORFLOW_GRPC.write_path(message)
        return (await ask_engine(engine, TENSORFLOW_GRPC, path, message, context)).content

    return predict


def _metadata_with(engine: Engine) -> Callable[[GetModelMetadataRequest, Context], Awaitable[Message]]:
    async def describe(message: GetModelMetadataRequest, context: Context) -> Message:
        unknown = set(message.metadata_field) - {"signature_def"}
        if unknown or not message.metadata_field:
            sentence = "The metadata_field has to be 'signature_def' alone; ask for that."
            await refuse(context, Refusal(400, sentence))
        return await _find(engine, find_described, message.model_spec, context, _describe)

    return describe


def _status_with(engine: Engine) -> Callable[[GetModelStatusRequest, Context], Awaitable[Message]]:
    async def describe(message: GetModelStatusRequest, context: Context) -> Message:
        return await _find(
            engine, find_statuses, message.model_spec, context, lambda listed: status_message(listed[1])
        )

    return describe


def _describe(described: Any) -> Message:
    model, version = described
    return metadata_message(model.name, version.version, version.signature)


async def _find(
    engine: Engine,
    find: Callable[..., Any],
    spec: ModelSpec,
    context: Context,
    write: Callable[[Any], Message],
) -> Message:
    """Find what a request names, for the holder of a token, and write it as a message."""
    token = engine.table.authenticate(caller_of(context), Scope.INFER, Scope.READ)
    if isinstance(token, Refusal):
        await refuse(context, token)
    result = find(engine.table, token.project_id, read_spec(spec))
    if isinstance(result, Refusal):
        await refuse(context, result)
    return write(result)
