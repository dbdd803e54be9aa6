"""What the logging API's readers give to its services, and what those answer: typed, and free of Django."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Self

from msgspec import Struct

type Status = Literal[
    "accepted", "duplicate", "conflict", "rejected", "pending_prediction", "superseded", "ambiguous_id"
]


class PredictionItem(Struct, frozen=True):
    """One prediction that another server made."""

    id: str
    timestamp: datetime  # event time, corrected by `sent_at`
    version: str
    features: dict[str, float | int | bool | str | None]
    prediction: str | float  # the class, or the number
    probabilities: dict[str, float] | float | None
    latency_ms: float | None
    role: str
    client_id: str | None
    subject: str | None
    tags: dict[str, str] | None
    body_hash: int  # 63 bits of the item as it was sent: tells a repetition from a conflict


class LabelItem(Struct, frozen=True):
    """What really happened, as text; it equals a class with the same text."""

    id: str
    label: str
    timestamp: datetime | None


class ItemFault(Struct, frozen=True):
    """One item that was refused: where it is wrong (JSON pointer), a stable code, and a sentence."""

    id: str | None
    code: str
    detail: str
    pointer: str


class ItemResult(Struct, frozen=True, omit_defaults=True):
    """What became of one item."""

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
        duplicates = sum(result.status == "duplicate" for result in results)
        rejected = sum(result.status in ("rejected", "conflict", "ambiguous_id") for result in results)
        return cls(len(results) - duplicates - rejected, duplicates, rejected, list(results))


@dataclass(frozen=True)
class Batch[Item]:
    """A request's items, and by how much the sender's clock was behind ours when that was corrected."""

    items: list[Item | ItemFault]
    skew: timedelta | None = None

    @property
    def warnings(self) -> list[dict[str, str]]:
        if self.skew is None:
            return []
        seconds = round(self.skew.total_seconds())
        detail = (
            f"sent_at is {abs(seconds):,} s {'behind' if seconds > 0 else 'ahead of'} this server's clock"
        )
        return [{"code": "clock_skew", "detail": f"{detail}; every timestamp was moved by that."}]


def class_text(value: float | bool | str) -> str:
    """Write a class the way it is compared: 1, 1.0 and true are all `1`."""
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    return str(value)
