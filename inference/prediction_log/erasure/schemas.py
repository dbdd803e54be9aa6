"""What the API answers about erasures."""

from typing import Annotated, Self

from driftline.base.http.responses import ResponseBody, Time, one_of
from inference.prediction_log.erasure.models import Erasure


class ErasureOut(ResponseBody, frozen=True):
    """The receipt of an erasure; `counts` says how much was erased, by place, and `key_hash` never of whom."""

    id: int
    state: Annotated[str, one_of(Erasure.State)]
    waiting_for: str | None
    error: str | None
    key_hash: str
    counts: dict[str, int]
    remains: list[str]
    requested_by: str
    requested_at: Time
    finished_at: Time | None

    @classmethod
    def of(cls, erasure: Erasure) -> Self:
        return cls(
            id=erasure.pk,
            state=erasure.state,
            waiting_for=erasure.waiting_for or None,
            error=erasure.error or None,
            key_hash=erasure.key_hash,
            counts=erasure.counts,
            remains=erasure.remains,
            requested_by=erasure.requested_by,
            requested_at=erasure.requested_at,
            finished_at=erasure.finished_at,
        )
