"""PyTorch modules, through torch.onnx.export."""

from copy import deepcopy
from typing import Any

import numpy as np

from driftline_client.conversion.converted import Converted
from driftline_client.conversion.needs import needed, versions_of
from driftline_client.conversion.table import TABLE, Table
from driftline_client.errors import DriftlineError

_EXAMPLE_ROWS = 3  # neither 0 nor 1, which the exporter would take for a size that never changes


def convert(model: Any, table: Table, classes: list[str] | None) -> Converted:
    """Convert a module of one float32 tensor and one output, in evaluation mode; the caller's keeps its mode."""
    torch = needed("torch")
    needed("onnxscript")
    module = deepcopy(model).eval()
    output = "probabilities" if classes else "prediction"

    def predict(rows: Table) -> Any:
        with torch.no_grad():
            return module(torch.from_numpy(rows.tensor())).numpy()

    example = torch.from_numpy(np.resize(table.tensor(), (_EXAMPLE_ROWS, *table.tensor().shape[1:])))
    try:
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            input_names=[TABLE],
            output_names=[output],
            dynamic_shapes=({0: torch.export.Dim("rows")},),
            verbose=False,
        )
    except Exception as error:  # the exporter wraps whatever the module raised
        reason = " ".join(str(error).split())[:300]
        raise DriftlineError(f"torch.onnx cannot export {type(model).__name__}: {reason}") from error
    return Converted(
        onnx=program.model_proto.SerializeToString(),
        predict=predict,
        tensors=lambda rows: {TABLE: rows.tensor()},
        prediction=None if classes else output,
        probabilities=output if classes else None,
        classes=classes,
        libraries=versions_of("torch", "onnxscript", "onnx"),
    )
