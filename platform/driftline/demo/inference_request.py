"""What a demo model takes, and one request for it: the Open Inference Protocol, one input a feature."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from inference.signatures import Feature


@dataclass(frozen=True)
class ModelInputs:
    """The features of a model, those of text first."""

    strings: Sequence[str]
    numbers: Sequence[str]

    @property
    def names(self) -> list[str]:
        return [*self.strings, *self.numbers]

    @property
    def features(self) -> list[Feature]:
        return [Feature(name, "string" if name in self.strings else "float") for name in self.names]

    def request(self, rows: Sequence[Sequence[object]], *, key: str, timestamps: Sequence[str]) -> bytes:
        """Write the body that asks about rows, each with the time of its event."""
        inputs = [
            {
                "name": name,
                "shape": [len(rows), 1],
                "datatype": "BYTES" if name in self.strings else "FP32",
                "data": list(values),
            }
            for name, values in zip(self.names, zip(*rows, strict=True), strict=True)
        ]
        parameters = {"driftline_id": key, "driftline_timestamp": orjson.dumps(list(timestamps)).decode()}
        return orjson.dumps({"inputs": inputs, "parameters": parameters})
