"""The peer of people who count microseconds: a raw ASGI application with orjson and no checks at all."""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson

options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"])


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if scope["method"] == "GET":
        await _send(send, b"{}")
        return
    request = orjson.loads(body)
    tensor = request["inputs"][0]
    rows = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
    label, probabilities = session.run(["label", "probabilities"], {tensor["name"]: rows})
    answer = {
        "model_name": scope["path"].split("/")[3],
        "model_version": "1",
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": label.shape, "data": label},
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": probabilities.shape,
                "data": probabilities.ravel(),
            },
        ],
    }
    if "id" in request:
        answer["id"] = request["id"]
    await _send(send, orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY))


async def _send(send: Callable[[dict[str, Any]], Awaitable[None]], payload: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(payload)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": payload})
