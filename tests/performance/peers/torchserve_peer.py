"""TorchServe's peer: a handler that runs ONNX Runtime on the requests of a batch together."""

import os
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson


class Trees:
    def initialize(self, context: Any) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        path = os.path.join(context.system_properties["model_dir"], "model.onnx")
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        rows = np.array([_values(request) for request in data], np.float32)
        labels, probabilities = self._session.run(["label", "probabilities"], {"X": rows})
        return [
            orjson.dumps(
                {
                    "model_name": "trees",
                    "outputs": [
                        {"name": "label", "datatype": "INT64", "shape": [1], "data": [int(label)]},
                        {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": pair.tolist()},
                    ],
                }
            )
            for label, pair in zip(labels, probabilities, strict=True)
        ]


def _values(request: dict[str, Any]) -> list[float]:
    body = request.get("body") or request["data"]
    document = body if isinstance(body, dict) else orjson.loads(body)
    return document["inputs"][0]["data"]
