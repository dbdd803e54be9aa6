"""Calls over gRPC."""

from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message

from inference.protocol import inference_service_pb2 as messages
from inference.protocol.inference_service_pb2 import ModelInferRequest

SERVICE = "inference.GRPCInferenceService"
SECONDS = 30


def open_channel(port: int, *options: tuple[str, Any]) -> grpc.Channel:
    return grpc.insecure_channel(
        f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1), *options]
    )


def ask(
    channel: grpc.Channel,
    method: str,
    request: Message,
    *,
    token: str | None = "dl_infer",
    response: type[Message] | None = None,
    path: str | None = None,
    forwarded_for: str | None = None,
) -> Any:
    """Call a method; give the answer and the call that it came with."""
    call = channel.unary_unary(
        path or f"/{SERVICE}/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=(response or getattr(messages, f"{method}Response")).FromString,
    )
    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    if forwarded_for is not None:
        metadata.append(("x-forwarded-for", forwarded_for))
    return call.with_call(request, timeout=SECONDS, metadata=metadata)


def infer_request(
    model: str, *rows: Sequence[float], raw: bool = True, version: str = ""
) -> ModelInferRequest:
    values = np.array(rows, dtype=np.float32)
    contents = {} if raw else {"contents": {"fp32_contents": values.ravel().tolist()}}
    return ModelInferRequest(
        model_name=model,
        model_version=version,
        inputs=[{"name": "X", "datatype": "FP32", "shape": values.shape, **contents}],
        raw_input_contents=[values.tobytes()] if raw else [],
    )


def facts_of(call: grpc.Call) -> dict[str, str]:
    return {name: str(value) for name, value in call.trailing_metadata()}
