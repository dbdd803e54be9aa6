"""Reads topics of Kafka: the consumer group hands partitions out, and the table says where each is read on."""

import time
from collections.abc import Mapping, Sequence
from typing import Self

import orjson
from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from driftline.base.processes.process_names import own_name
from inference.connectors.failure import ConnectorFailed
from inference.connectors.kafka.connection import check_cluster, describe_failure, find_blocked
from inference.prediction_log.sources.kafka.connection import (
    MAX_BATCH_BYTES,
    MAX_POLL_MS,
    message_of,
    open_consumer,
)
from inference.prediction_log.sources.kafka.settings import KafkaSettings
from inference.prediction_log.sources.reading.messages import StreamMessage
from inference.prediction_log.sources.reading.positions import (
    begin_partition,
    read_on,
    read_positions,
    rewind_partition,
    set_notice,
    take_from_the_dead,
)

MAX_BATCH = 10_000
STEP = 1_000  # messages that are asked for at once
STEP_SECONDS = 0.02  # to wait for more of a batch that has begun
ASK_SECONDS = 10.0
HOLD_SECONDS = MAX_POLL_MS / 1_000  # a round of the group may wait so long for a member that is busy
_DISQUIETING = {
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._AUTHENTICATION,
    KafkaError._RESOLVE,
    KafkaError._SSL,
}


class KafkaAdapter:
    """A member of the consumer group of one source; see `Adapter`."""

    def __init__(
        self, source_id: int, settings: KafkaSettings, secret: str, *, ask_seconds: float = ASK_SECONDS
    ) -> None:
        self._connection_trouble = ""  # until a broker answers again
        self._topic_troubles: dict[str, str] = {}  # until the topic is read; "" is the group
        self._source_id, self._settings = source_id, settings
        self._reader = own_name()
        self._assigned: set[str] = set()  # partitions that this consumer reads, of the group or held
        self._placed: set[str] = set()  # those of them that librdkafka reads, from a position of the table
        self._unplaced: set[str] = set()  # those of which the table must be asked, at first or anew
        self._refused: set[str] = set()  # those that do not have the position of the table
        self._held: set[str] = set()  # those that it reads without the group's word, until that comes
        self._held_until = 0.0  # of the monotonic clock
        self._revoked: set[str] = set()  # partitions that the group takes away in this round
        self._ends: dict[str, int] = {}
        self._blocked = ""
        self._consumer = open_consumer(
            settings, secret, settings.group, on_error=self._on_error, on_statistics=self._on_statistics
        )
        try:
            check_cluster(self._consumer, settings, ask_seconds)
            self._consumer.subscribe(
                list(settings.topics),
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
            self._take_from_the_dead()
        except BaseException:
            self._consumer.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the group at once, so that its other members get these partitions."""
        self._consumer.close()

    @property
    def trouble(self) -> str:
        """Return why nothing comes at present: of the connections, else of the group or a topic."""
        return self._connection_trouble or next(iter(self._topic_troubles.values()), "")

    # -- reading -------------------------------------------------------------------------------------------------------
    def poll(self, timeout_seconds: float) -> Sequence[StreamMessage]:
        """Return the next messages: at most `MAX_BATCH`, about `MAX_BATCH_BYTES`, and what comes within the timeout."""
        if self._blocked:
            raise ConnectorFailed(self._blocked)
        if self._held and time.monotonic() > self._held_until:
            self._let_go()
        if self._unplaced:
            self._place()
        batch: list[StreamMessage] = []
        size, wait = 0, timeout_seconds
        deadline = time.monotonic() + timeout_seconds
        while len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            read = self._consumer.consume(min(STEP, MAX_BATCH - len(batch)), wait)
            found = [message_of(one) for one in read if self._is_message(one)]
            batch += found
            size += sum(one.size_bytes for one in found)
            wait = STEP_SECONDS
            if not found or self._unplaced or time.monotonic() >= deadline:
                break
        read_on = self._placed - self._unplaced  # of others the table says what is next
        return [one for one in batch if one.partition in read_on]

    def _is_message(self, read: KafkaMessage) -> bool:
        error = read.error()
        if error is None:
            self._topic_troubles.pop(read.topic() or "", None)
            return True
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._refuse(f"{read.topic()}/{read.partition()}")
        elif error.fatal():
            raise ConnectorFailed(error.str())
        elif error.code() in _DISQUIETING:
            self._connection_trouble = describe_failure(KafkaException(error), self._settings)
        elif error.code() != KafkaError._PARTITION_EOF:
            self._topic_troubles[read.topic() or ""] = error.str()
        return False

    def acknowledge(self, next_offsets: Mapping[str, int]) -> None:
        """Report the group's offsets to the broker, for graphs of others; the table is what counts.

        Those of partitions that it reads without the group's word are left out, which the broker would refuse.
        """
        offsets = [
            _position(partition, offset)
            for partition, offset in next_offsets.items()
            if partition not in self._held
        ]
        if not offsets:
            return
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException:
            return

    def ends(self) -> Mapping[str, int]:
        """Return the high watermarks that the broker last named."""
        return dict(self._ends)

    # -- partitions that come and go -----------------------------------------------------------------------------------
    # The protocol is cooperative: while a member that died is waited for, the others read on what stays theirs.
    def _take_from_the_dead(self) -> None:
        """Read what processes that were killed on this machine read, until the group has noticed and says who does.

        Were one of them alive after all, the positions would fence one of the two.
        """
        partitions = take_from_the_dead(self._source_id, self._reader)
        self._hold({one for one in partitions if self._settings.reads(one)})

    def _hold(self, partitions: set[str]) -> None:
        self._held = partitions
        self._held_until = time.monotonic() + HOLD_SECONDS
        self._assigned |= partitions
        self._unplaced |= partitions - self._placed

    def _let_go(self) -> None:
        """Leave what is read without the group's word to whoever the group gives it to."""
        try:
            self._stop_reading(self._consumer, self._held)
        except KafkaException as error:
            raise ConnectorFailed(describe_failure(error, self._settings)) from error
        self._held = set()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for topic in {"", *(one.topic for one in partitions)}:
            self._topic_troubles.pop(topic, None)
        added = {_name(one) for one in partitions}
        self._stop_reading(consumer, self._held - added)
        self._hold(self._revoked - added)
        self._revoked = set()
        self._assigned |= added
        self._unplaced |= added - self._placed
        consumer.incremental_assign([])  # nothing is read before the table was asked, outside this callback

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Hand partitions back, which are read on all the same until the group says who does.

        librdkafka calls `_on_assign` twice after this: at once with what this round adds, then after the next round,
        which ends only when every member has answered; one that died has not until its session is over.
        """
        self._revoked = {_name(one) for one in partitions}
        self._stop_reading(consumer, self._revoked)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._stop_reading(consumer, {_name(one) for one in partitions} | self._held)
        self._held, self._revoked = set(), set()

    def _stop_reading(self, consumer: Consumer, revoked: set[str]) -> None:
        if not revoked:
            return
        consumer.incremental_unassign([_position(name) for name in revoked & self._placed])
        for names in (self._assigned, self._placed, self._unplaced, self._refused):
            names -= revoked
        for name in revoked:
            self._ends.pop(name, None)

    def resume(self) -> None:
        """Read each partition that the group gave on from its position in the table, and no others.

        Those that are held may be read by somebody else, who has stored messages of one.
        """
        self._let_go()
        self._unplaced = set(self._assigned)
        self._place()

    def _place(self) -> None:
        """Read the partitions of which the table must be asked on from there."""
        try:
            places = [self._resume_at(name) for name in sorted(self._unplaced)]
            self._consumer.incremental_unassign([_position(name) for name in self._unplaced & self._placed])
            self._placed -= self._unplaced
            self._consumer.incremental_assign(places)
        except KafkaException as error:
            raise ConnectorFailed(describe_failure(error, self._settings)) from error
        self._placed |= self._unplaced
        self._unplaced.clear()

    def _refuse(self, partition: str) -> None:
        """Note that a partition does not have the position of the table, so that it is placed anew.

        The refusal of one that was taken away in the same call comes late, and is nothing to us.
        """
        if partition in self._assigned:
            self._refused.add(partition)
            self._unplaced.add(partition)

    def _resume_at(self, partition: str) -> TopicPartition:
        """Return where a partition is read on: where the table says, if the broker still has that."""
        if partition in self._held:  # it may be another one's by now, which has noted that
            offset = read_positions(self._source_id, [partition]).get(partition)
        else:
            offset = read_on(self._source_id, partition, self._reader)
        if offset is None:
            low, high = self._watermarks(partition)
            begin = low if self._settings.start == "earliest" else high
            offset = begin_partition(self._source_id, partition, begin, self._reader)
        elif partition in self._refused:
            offset = self._begin_again(partition, offset)
        self._refused.discard(partition)
        return _position(partition, offset)

    def _begin_again(self, partition: str, offset: int) -> int:
        """Return the earliest offset of a partition that does not have `offset` any more, and say so."""
        low, high = self._watermarks(partition)
        if low <= offset <= high:
            return offset  # the broker has it after all, as while a leader is elected
        if offset < low:
            notice = f"{low - offset:,} messages of {partition} were deleted before they were read"
        else:
            notice = (
                f"{partition} was read to {offset:,} and ends at {high:,} now, for it was cut or made anew"
            )
            if not rewind_partition(self._source_id, partition, before=offset, to=low):
                return read_positions(self._source_id, [partition]).get(partition, low)
        set_notice(self._source_id, f"{notice}; reading goes on at the earliest message, {low:,}.")
        return low

    def _watermarks(self, partition: str) -> tuple[int, int]:
        return self._consumer.get_watermark_offsets(_position(partition), timeout=ASK_SECONDS)

    # -- what librdkafka says ------------------------------------------------------------------------------------------
    def _on_error(self, error: KafkaError) -> None:
        if error.code() in _DISQUIETING or error.fatal():
            self._connection_trouble = describe_failure(KafkaException(error), self._settings)

    def _on_statistics(self, text: str) -> None:
        """Learn from the statistics which brokers answer, whether they may be called, and where partitions end."""
        statistics = orjson.loads(text)
        brokers = statistics.get("brokers", {}).values()
        names = {broker["nodename"] for broker in brokers if broker.get("nodename")}
        self._blocked = self._blocked or find_blocked(names, self._settings)  # names may move: at each tick
        if any(broker.get("state") == "UP" for broker in brokers):
            self._connection_trouble = ""
        for topic, found in statistics.get("topics", {}).items():
            for number, partition in found.get("partitions", {}).items():
                name = f"{topic}/{number}"
                if name in self._placed and (end := partition.get("hi_offset", -1)) >= 0:
                    self._see_end(name, end, partition.get("next_offset", -1))

    def _see_end(self, partition: str, end: int, fetched_next: int) -> None:
        """Note where a partition ends. Not every broker refuses a position beyond the end, so that is looked for."""
        self._ends[partition] = end
        if fetched_next > end:
            self._refuse(partition)


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}/{partition.partition}"


def _position(partition: str, offset: int = OFFSET_INVALID) -> TopicPartition:
    topic, _, number = partition.rpartition("/")
    return TopicPartition(topic, int(number), offset)
