"""LitServe's peer: `python litserve_peer.py PORT`, without batching, which is faster here than with it."""

import os
import sys
from typing import Any

import litserve as ls
import numpy as np
import onnxruntime as ort


class Trees(ls.LitAPI):
    def setup(self, device: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(
            os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"]
        )

    def decode_request(self, request: dict[str, Any]) -> np.ndarray:
        tensor = request["inputs"][0]
        return np.array(tensor["data"], np.float32).reshape(tensor["shape"])

    def predict(self, x: np.ndarray) -> list[np.ndarray]:
        return self._session.run(["label", "probabilities"], {"X": x})

    def encode_response(self, output: list[np.ndarray]) -> dict[str, Any]:
        label, probabilities = output
        return {
            "model_name": "trees",
            "outputs": [
                {"name": "label", "datatype": "INT64", "shape": label.shape, "data": label.tolist()},
                {
                    "name": "probabilities",
                    "datatype": "FP32",
                    "shape": probabilities.shape,
                    "data": probabilities.ravel().tolist(),
                },
            ],
        }


if __name__ == "__main__":
    server = ls.LitServer(Trees(api_path="/v2/models/trees/infer"), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
