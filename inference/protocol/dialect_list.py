"""The dialects that are served over HTTP."""

from inference.protocol.dialect import HttpDialect
from inference.protocol.mlflow import MLFLOW
from inference.protocol.tensorflow.tensorflow_rest import TENSORFLOW_REST
from inference.protocol.torchserve import TORCHSERVE
from inference.protocol.v2.open_inference import OPEN_INFERENCE

HTTP_DIALECTS: tuple[HttpDialect, ...] = (OPEN_INFERENCE, *TENSORFLOW_REST, MLFLOW, TORCHSERVE)


def find_dialect(path: bytes) -> HttpDialect | None:
    """Find the dialect in which a request to this path is one for inference."""
    for dialect in HTTP_DIALECTS:
        if dialect.takes(path):
            return dialect
    return None
