"""Triton's peer: a model of its Python backend, for the package that carries Triton has no ONNX backend."""

import os

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(
            os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"]
        )

    def execute(self, requests: list["pb_utils.InferenceRequest"]) -> list["pb_utils.InferenceResponse"]:
        """Run the rows of all requests that Triton's scheduler hands over together."""
        parts = [pb_utils.get_input_tensor_by_name(request, "X").as_numpy() for request in requests]
        rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
        labels, probabilities = self._session.run(["label", "probabilities"], {"X": rows})
        responses = []
        start = 0
        for part in parts:
            stop = start + len(part)
            outputs = [
                pb_utils.Tensor("label", labels[start:stop].reshape(-1, 1)),
                pb_utils.Tensor("probabilities", probabilities[start:stop]),
            ]
            responses.append(pb_utils.InferenceResponse(output_tensors=outputs))
            start = stop
        return responses
