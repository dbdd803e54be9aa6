"""What the logging API's readers give to its services, and what those answer: typed, and free of Django."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

type Status = Literal[
    "accepted", "duplicate", "conflict", "rejected", "pending_prediction", "superseded", "ambiguous_id"
]


class LabelItem(Struct, frozen=True):
    """What really happened, as text; it equals a class with the same text."""

    id: str
    label: str
    timestamp: datetime | None
    is_known_at_event: bool = False
    """Whether a label without a time counts as known when its prediction was made, as one of a file does."""


class ItemFault(Struct, frozen=True):
    """One item that was refused: where it is wrong (JSON pointer), a stable code, and a sentence."""

    id: str | None
    code: str
    detail: str
    pointer: str


class ItemResult(Struct, frozen=True, omit_defaults=True, gc=False):
    """What became of one item; it holds no container, so the collector need not look at the many of a request."""

    index: int
    id: str | None
    status: Status
    error: ItemFault | None = None


class BatchResult(Struct, frozen=True):
    """What became of a request's items, in their order."""

    accepted: int
    duplicates: int
    rejected: int
    results: list[ItemResult]

    @classmethod
    def of(cls, results: Sequence[ItemResult]) -> Self:
        """Count the results; accepted + duplicates + rejected is the number of items."""
        statuses = Counter([result.status for result in results])
        duplicates = statuses["duplicate"]
        rejected = statuses["rejected"] + statuses["conflict"] + statuses["ambiguous_id"]
        return cls(len(results) - duplicates - rejected, duplicates, rejected, list(results))


class RequestWarning(Struct, frozen=True):
    """What was done with a request that its sender should know: a stable code, and a sentence."""

    code: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """What a request brought; `skew` tells by how much the sender's clock was behind ours when that was corrected."""

    skew: timedelta | None = None

    @property
    def warnings(self) -> list[RequestWarning]:
        if self.skew is None:
            return []
        seconds = round(self.skew.total_seconds())
        detail = (
            f"sent_at is {abs(seconds):,} s {'behind' if seconds > 0 else 'ahead of'} this server's clock"
        )
        return [RequestWarning(code="clock_skew", detail=f"{detail}; every timestamp was moved by that.")]


@dataclass(frozen=True)
class LabelBatch(Arrived):
    """A request's labels, or what is wrong with them, in their order."""

    items: list[LabelItem | ItemFault]


def as_objects(values: Sequence[object]) -> NDArray[np.object_]:
    """Hold texts, with None where one is missing, as numpy leaves them alone."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def class_text(value: float | bool | str) -> str:
    """Write a class the way it is compared: 1, 1.0 and true are all `1`."""
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    return str(value)
