"""Asks a device's agent through `tritonclient`, with tensors as bytes; prints what it answers as JSON.

Runs in the environment of the foreign clients. Usage: device_client.py PORT
"""

import json
import sys

import numpy as np
import tritonclient.http


def main() -> None:
    client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{sys.argv[1]}")
    images = np.linspace(0, 1, 2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4)
    tensor = tritonclient.http.InferInput("X", [2, 3, 4, 4], "FP32")
    tensor.set_data_from_numpy(images)
    wanted = [
        tritonclient.http.InferRequestedOutput("sum", binary_data=True),
        tritonclient.http.InferRequestedOutput("embedding", binary_data=False),
    ]
    answer = client.infer("fuel", [tensor], outputs=wanted)
    print(
        json.dumps(
            {
                "live": client.is_server_live(),
                "extensions": client.get_server_metadata()["extensions"],
                "sum": answer.as_numpy("sum").tolist(),
                "embedding": answer.as_numpy("embedding").tolist(),
                "images": images.reshape(2, -1).tolist(),
            }
        )
    )


main()
