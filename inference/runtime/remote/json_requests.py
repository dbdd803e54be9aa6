"""Batches as JSON rows, as TensorFlow Serving and TorchServe take them."""

import msgspec

from inference.protocol.json_forms.json_values import NotFinite, ValueWriter
from inference.protocol.results import BatchOutputs
from inference.runtime.session import Array
from inference.signatures import Signature, TensorSpec


class RowsWriter:
    """Writes batches of the given inputs under the other server's names for them."""

    def __init__(self, inputs: list[TensorSpec], names: dict[str, str], not_finite: NotFinite) -> None:
        self._inputs = inputs
        renamed = [msgspec.structs.replace(spec, name=names.get(spec.name, spec.name)) for spec in inputs]
        self._writer = ValueWriter(_giving(renamed), not_finite=not_finite, bare=False)

    def write(self, batch: dict[str, Array]) -> bytes:
        """Write a list with one item a row: the only input's value, or an object by input."""
        values = BatchOutputs([batch[spec.name] for spec in self._inputs])
        rows = self._writer.write_rows(values, 0, len(values.arrays[0]), range(len(self._inputs)))
        return b"[%b]" % b",".join(rows)


def _giving(outputs: list[TensorSpec]) -> Signature:
    """Make the signature of a model that gives these tensors: what it gives is what we send."""
    return Signature(
        features=[],
        inputs=[],
        outputs=outputs,
        prediction_output=None,
        probabilities_output=None,
        classes=[],
        positive_class=None,
        missing={},
        task="",
    )
