"""A stream in memory, which tests fill: its adapter does all that the loop asks of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

from driftline.base.clock import now
from driftline.base.periods import rfc3339
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.reading.messages import StreamMessage
from inference.prediction_log.sources.reading.positions import begin_partition

BATCH = 4


@dataclass
class MemoryStream:
    """Partitions of messages; `is_away` makes it fail as a broker that cannot be reached."""

    partitions: dict[str, list[StreamMessage]] = field(default_factory=dict)
    is_away: bool = False
    acknowledged: dict[str, int] = field(default_factory=dict)
    opened: int = 0

    def send(
        self, value: Any, partition: str = "t/0", *, offset: int | None = None, **others: Any
    ) -> StreamMessage:
        """Append a message: JSON of `value`, or bytes as they are."""
        messages = self.partitions.setdefault(partition, [])
        if offset is None:
            offset = messages[-1].offset + 1 if messages else 0
        raw = value if isinstance(value, bytes | None) else orjson.dumps(value)
        messages.append(StreamMessage(partition=partition, offset=offset, value=raw, **others))
        return messages[-1]

    def open(self, source: Source) -> "MemoryAdapter":
        """Open it for a source, as `open_adapter` does."""
        if self.is_away:
            raise ConnectorFailed("The broker is away.")
        self.opened += 1
        return MemoryAdapter(self, source.pk)


@dataclass
class MemoryAdapter:
    """Reads all partitions of a stream from the positions of the table on."""

    stream: MemoryStream
    source_id: int
    trouble: str = ""
    _next: dict[str, int] = field(default_factory=dict)

    def poll(self, timeout_seconds: float) -> Sequence[StreamMessage]:
        """Return a few messages."""
        if self.stream.is_away:
            raise ConnectorFailed("The broker is away.")
        batch: list[StreamMessage] = []
        for partition, messages in sorted(self.stream.partitions.items()):
            if partition not in self._next:
                self._next[partition] = begin_partition(self.source_id, partition, 0)
            found = [one for one in messages if one.offset >= self._next[partition]][: BATCH - len(batch)]
            if found:
                self._next[partition] = found[-1].offset + 1
                batch += found
        return batch

    def resume(self) -> None:
        """Ask the table anew."""
        self._next.clear()

    def acknowledge(self, next_offsets: Mapping[str, int]) -> None:
        """Note what was acknowledged."""
        self.stream.acknowledged.update(next_offsets)

    def ends(self) -> Mapping[str, int]:
        """Return the offsets behind the last messages."""
        return {name: messages[-1].offset + 1 for name, messages in self.stream.partitions.items()}

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def prediction(id_: str, **others: Any) -> dict[str, Any]:
    """An item of the logging API."""
    plain = {
        "id": id_,
        "timestamp": rfc3339(now()),
        "version": "1",
        "features": {"income": 41.5, "home": "rent"},
        "prediction": 1,
    }
    return plain | others
