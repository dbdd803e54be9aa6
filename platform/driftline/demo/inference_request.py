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

    def request(self, values: Sequence[object], *, key: str, timestamp: str | None = None) -> bytes:
        """Write the body that asks for one row; without a `timestamp` its time is that of sending."""
        parameters = {"driftline_id": key} | ({"driftline_timestamp": timestamp} if timestamp else {})
        inputs = [
            {
                "name": name,
                "shape": [1, 1],
                "datatype": "BYTES" if name in self.strings else "FP32",
                "data": [value],
            }
            for name, value in zip(self.names, values, strict=True)
        ]
        return orjson.dumps({"inputs": inputs, "parameters": parameters})
