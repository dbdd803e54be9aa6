"""How rows of a version are summarised, as Driftline says it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from inference.signatures import Signature


class WindowRow(NamedTuple):
    """A summary on its way: an hour of the rows of a version and role, in microseconds since 1970."""

    version: str
    role: str
    hour_us: int
    segment: str
    rows: int
    summary: bytes


@dataclass(frozen=True)
class RowLayout:
    """The layout of a version's summaries: each feature with its centre, or None for a text.

    `vectors` has the dimension of each vector with parts among the features.
    """

    version: str
    signature: Signature
    features: Mapping[str, float | None]
    numbers: frozenset[str]
    prediction_centre: float | None
    segment_features: tuple[str, ...]
    vectors: Mapping[str, int]

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Self:
        """Read what `POST /api/v1/models/{m}/summaries/layout` answers."""
        signature = Signature(
            features=[], inputs=[], outputs=[], prediction_output=None, probabilities_output=None, missing={},
            classes=answer["classes"], positive_class=answer["positive_class"], task=answer["task"],
        )  # fmt: skip
        return cls(
            version=answer["version"],
            signature=signature,
            features={one["name"]: one["centre"] for one in answer["features"]},
            numbers=frozenset(one["name"] for one in answer["features"] if one["is_number"]),
            prediction_centre=answer["prediction_centre"],
            segment_features=tuple(answer["segment_features"]),
            vectors=answer.get("vectors", {}),  # which older servers do not say
        )

    @property
    def centres(self) -> dict[str, float]:
        """The centres of all numbers, that of a number which is answered by the name `prediction`."""
        known = {name: centre for name, centre in self.features.items() if centre is not None}
        return known if self.prediction_centre is None else known | {"prediction": self.prediction_centre}
