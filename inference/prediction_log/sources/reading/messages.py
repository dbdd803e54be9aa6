"""What an adapter reads, and what it must do to fit the loop."""

from collections.abc import Mapping, Sequence
from typing import Protocol, Self

from msgspec import Struct

MAX_TIME_US = 253_402_214_400_000_000
"""The last day of the year 9999: PostgreSQL rounds as it adds so many microseconds, which may give the year 10000."""
BROKEN_OBJECT = "broken_object"
"""The code of an object that could not be read on; the value of its message is its path."""

TOPIC_HEADER = "mqtt-topic"
"""Where a message of MQTT has its topic, which often names the device that sent it."""


def plausible_time(time_us: int | None) -> int | None:
    """Return a time if it lies between 1970 and 9999, which every clock can show; None otherwise."""
    return time_us if time_us is not None and 0 <= time_us < MAX_TIME_US else None


class Fault(Struct, frozen=True):
    """Why an adapter could not read a message: a stable code, and a sentence."""

    code: str
    detail: str


class StreamMessage(Struct, frozen=True, omit_defaults=True):
    """One message as it came; a `value` of None is a tombstone, which says nothing."""

    partition: str
    """Offsets are ordered within it: a partition of a topic, an object of a bucket, a query."""
    offset: int
    value: bytes | None
    key: bytes | None = None
    time_us: int | None = None
    """When it was sent, by its broker, in microseconds since 1970."""
    headers: dict[str, str] = {}
    has_text_cells: bool = False
    """Whether every cell of its JSON is text, as in CSV: what looks like a number is one where a number belongs."""
    place_fields: tuple[str, ...] = ()
    """Fields of its JSON by which it is found again, as watermark and keys of a table: no features by themselves."""
    cursor: str = ""
    """The place behind it, for kinds that read on at one which is no offset."""
    fault: Fault | None = None
    """What its adapter found wrong: it becomes a dead letter."""

    @property
    def size_bytes(self) -> int:
        """Bytes of value, key and headers."""
        headers = sum(len(name) + len(value) for name, value in self.headers.items())
        return len(self.value or b"") + len(self.key or b"") + headers


class Adapter(Protocol):
    """Reads one stream. Positions are the table's alone: an adapter keeps none of its own.

    Between `poll` and `acknowledge` lies the transaction that stores the messages and moves their positions. An adapter
    reads on at the table's position whenever it gets a partition, and whenever `resume` is called.
    """

    @property
    def trouble(self) -> str:
        """Return why nothing comes at present, in words for a person; empty where all is well."""

    def poll(self, timeout_seconds: float) -> Sequence[StreamMessage]:
        """Return the next messages, each partition's in order and without those before its position.

        They are bounded in number and bytes. Raises `ConnectorFailed`, and errors of the database.
        """

    def resume(self) -> None:
        """Forget what was read ahead, and read every partition on from its position in the table."""

    def acknowledge(self, next_offsets: Mapping[str, int]) -> None:
        """Hear that messages are stored up to these offsets. Nothing depends on it: brokers draw graphs of it."""

    def ends(self) -> Mapping[str, int]:
        """Return the offset behind the last message of each partition that this adapter reads, where it knows it."""

    def close(self) -> None:
        """Leave the stream to others."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...
