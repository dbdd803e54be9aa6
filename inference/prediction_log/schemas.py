"""What the API answers about what is logged, and what its readers find: rows in plain values."""

from datetime import datetime
from typing import TypedDict

from msgspec import UNSET, UnsetType

from driftline.base.http.responses import ResponseBody
from inference.prediction_log.items import BatchResult, ItemResult, RequestWarning


# -- logging -----------------------------------------------------------------------------------------------------------
class BatchOut(ResponseBody, frozen=True):
    """What became of a request's items, in their order; accepted + duplicates + rejected is their number."""

    accepted: int
    duplicates: int
    rejected: int
    results: list[ItemResult]
    warnings: list[RequestWarning] | UnsetType = UNSET

    @classmethod
    def of(cls, result: BatchResult, warnings: list[RequestWarning]) -> "BatchOut":
        return cls(
            accepted=result.accepted,
            duplicates=result.duplicates,
            rejected=result.rejected,
            results=result.results,
            warnings=warnings or UNSET,
        )


# -- reading -----------------------------------------------------------------------------------------------------------
class RowValues(TypedDict):
    """What came in and what was answered; what is missing is null."""

    latency_ms: float | None
    features: dict[str, float | str | None]
    prediction: float | str | None
    probability: float | list[float | None] | None


class LoggedRow(RowValues):
    """One row of one version."""

    id: str
    client_id: str | None
    timestamp: datetime
    version: str
    role: str


class LabelRevision(TypedDict):
    """A label as it was sent once; `is_current` where it holds."""

    value: str
    revision: int
    labelled_at: datetime | None
    received_at: datetime
    is_current: bool


class LoggedPrediction(LoggedRow):
    """A prediction with what its shadows answered, and the history of its label.

    `thumbnail` is what is kept of its image, a PNG of at most 32 pixels a side as base64.
    """

    thumbnail: str | None
    shadows: list[LoggedRow]
    labels: list[LabelRevision]


class ListedPrediction(LoggedRow):
    """A prediction with the label that holds."""

    label: str | None
    label_timestamp: datetime | None


UnreadableRows = TypedDict(
    "UnreadableRows", {"from": str, "to": str, "version": str, "role": str, "rows": int}
)
"""Rows that are damaged in the log, by their span of event time."""


class PredictionsOut(ResponseBody, frozen=True):
    """A page of predictions; `unreadable` says of which times it lacks rows that are damaged."""

    items: list[ListedPrediction]
    next: str | None
    unreadable: list[UnreadableRows]
