"""What the API answers about sinks."""

from typing import Annotated, Any, Self

from driftline.base.http.responses import ResponseBody, Time, one_of
from monitors.sinks.models import Sink, StreamKind
from monitors.sinks.selectors import StreamStatus


class SinkStreamOut(ResponseBody, frozen=True):
    """One stream: what waits, for how long the oldest of it does, and how many messages were acknowledged.

    `lost` rows were damaged in the log, or dropped by retention before they were sent.
    """

    kind: Annotated[str, one_of(StreamKind.values)]
    topic: str
    waiting: int
    behind_seconds: float
    rows_per_second: float
    sent: int
    lost: int
    sent_at: Time | None

    @classmethod
    def of(cls, status: StreamStatus) -> Self:
        return cls(
            kind=status.kind,
            topic=status.topic,
            waiting=status.waiting,
            behind_seconds=status.behind_seconds,
            rows_per_second=status.rows_per_second,
            sent=status.sent,
            lost=status.lost,
            sent_at=status.sent_at,
        )


class SinkOut(ResponseBody, frozen=True):
    """The sink of a project without its secret; `settings` is null where there is none.

    `error` says why some streams, or none, could be sent since `failing_since`; they are tried again by themselves.
    """

    settings: dict[str, Any] | None
    has_secret: bool
    error: str | None
    failing_since: Time | None
    streams: list[SinkStreamOut]
    created_at: Time | None

    @classmethod
    def of(cls, sink: Sink | None, statuses: list[StreamStatus]) -> Self:
        return cls(
            settings=sink.settings if sink else None,
            has_secret=bool(sink and sink.secret),
            error=(sink.error or None) if sink else None,
            failing_since=sink.failing_since if sink else None,
            streams=[SinkStreamOut.of(one) for one in statuses],
            created_at=sink.created_at if sink else None,
        )


class SinkTestOut(ResponseBody, frozen=True):
    """The brokers answered; `missing_topics` have to be made, unless they make topics that are written to."""

    missing_topics: list[str]
