"""A handler of TorchServe, which runs in its environment: a list of rows in, a list with one object a row out."""

import os
from typing import Any

import numpy as np
import onnxruntime as ort


class Logistic:
    def initialize(self, context: Any) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        path = os.path.join(context.system_properties["model_dir"], "model.onnx")
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """Answer each request of a batch with a list as long as its own."""
        return [self._answer(request["body"]) for request in data]

    def _answer(self, rows: list[list[float]]) -> list[dict[str, Any]]:
        labels, probabilities = self._session.run(
            ["label", "probabilities"], {"X": np.array(rows, np.float32)}
        )
        return [
            {"label": int(label), "probabilities": pair.tolist()}
            for label, pair in zip(labels, probabilities, strict=True)
        ]
