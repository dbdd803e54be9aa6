"""Model files to upload."""

import onnx

from tests.inference.onnx_models import summing_model

METADATA = {
    "features": [{"name": "f0", "type": "float"}, {"name": "f1", "type": "float"}],
    "outputs": {"prediction": "sum"},
}


def onnx_file(*, remark: str) -> bytes:
    """A model that sums two inputs; the remark makes it another file."""
    model = onnx.load_from_string(summing_model(2))
    model.doc_string = remark
    return model.SerializeToString()
