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


def form(*, filename: bytes = b"a", **parts: bytes) -> bytes:
    """Write the parts of a form between boundaries `x`."""
    written = [
        b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        % (name.encode(), b'; filename="%s"' % filename * (name == "file"), content)
        for name, content in parts.items()
    ]
    return b"".join(written) + b"--x--\r\n"
