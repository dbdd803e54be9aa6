"""TensorFlow and Keras models, through Keras' own export (tf2onnx under TensorFlow)."""

import tempfile
from pathlib import Path
from typing import Any

from driftline_client.conversion.converted import Converted
from driftline_client.conversion.needs import needed, versions_of
from driftline_client.conversion.table import Table
from driftline_client.errors import DriftlineError


def convert(model: Any, table: Table, classes: list[str] | None) -> Converted:
    """Convert a Keras model of one float32 tensor and one output."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise DriftlineError(
            f"The model has {len(model.inputs)} inputs and {len(model.outputs)} outputs; push one of one input and one "
            "output (join the inputs with keras.layers.Concatenate)."
        )
    needed("tf2onnx" if needed("keras").backend.backend() == "tensorflow" else "onnx")
    onnx = _export(model)
    session = needed("onnxruntime").InferenceSession(onnx, providers=["CPUExecutionProvider"])
    name, output = session.get_inputs()[0].name, session.get_outputs()[0].name

    return Converted(
        onnx=onnx,
        predict=lambda rows: model.predict(rows.tensor(), verbose=0),
        tensors=lambda rows: {name: rows.tensor()},
        prediction=None if classes else output,
        probabilities=output if classes else None,
        classes=classes,
        libraries=versions_of("tensorflow", "tensorflow-cpu", "keras", "tf2onnx", "torch", "jax"),
    )


def _export(model: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            model.export(str(path), format="onnx", verbose=False)
        except Exception as error:  # each backend raises its own kinds
            reason = " ".join(str(error).split())[:300]
            raise DriftlineError(f"Keras cannot export {type(model).__name__}: {reason}") from error
        return path.read_bytes()
