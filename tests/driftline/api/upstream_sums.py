"""A server behind a remote version, which sums what it gets."""

import json

import numpy as np

from tests.upstream import Asked, response

METADATA = {
    "name": "theirs",
    "inputs": [{"name": "x0", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y0", "datatype": "FP64", "shape": [-1, 1]}],
}


FEATURES = {"features": [{"name": "wind", "type": "float"}, {"name": "load", "type": "float"}]}


def sums_in_v2(asked: Asked) -> bytes:
    """A V2 server that sums rows, and refuses NaN."""
    if asked.line.startswith("GET /v2/models/theirs"):
        return response(json.dumps(METADATA).encode())
    if asked.line.startswith("GET"):
        return response(b'{"name": "any", "extensions": []}')
    if "theirs" not in asked.line:
        return response(b'{"error": "there is no such model"}', 404)
    [tensor] = json.loads(asked.body)["inputs"]
    if None in tensor["data"]:
        return response(b'{"error": "null is no number"}', 400)
    sums = np.array(tensor["data"]).reshape(tensor["shape"]).sum(axis=1).tolist()
    output = {"name": "y0", "datatype": "FP64", "shape": [len(sums), 1], "data": sums}
    return response(json.dumps({"outputs": [output]}).encode())
