"""The loop reads a source whatever happens to the broker, the database and other consumers, until it is stopped."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError

from driftline.base.errors import Problem
from driftline.base.extras import KAFKA
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.models import PredictionRow
from inference.prediction_log.sources import dead_letters
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import DeadLetter, Source, SourceConsumer, SourcePosition
from inference.prediction_log.sources.reading import beat, consuming
from inference.prediction_log.sources.reading.consuming import SourceConsumption
from inference.prediction_log.sources.reading.storing import Stored, store_batch
from inference.prediction_log.sources.selectors import statuses_of
from inference.prediction_log.sources.services import delete_source, set_enabled, update_source
from inference.registry.models import Model
from tests.absent_extras import hide
from tests.inference.prediction_log.sources.conftest import MakeSource
from tests.inference.prediction_log.sources.streams import MemoryAdapter, MemoryStream, prediction

ROWS = 11


class Stop(threading.Event):
    """A stop that comes when nothing is left to read, or after a condition; pauses take no time."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        super().__init__()
        self.condition = condition
        self.waits = 0

    def is_set(self) -> bool:
        return super().is_set() or self.condition()

    def wait(self, timeout: float | None = None) -> bool:
        self.waits += 1
        assert self.waits < 100, "the loop waits without end"
        return self.is_set()


@pytest.fixture(autouse=True)
def beat_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the source after every batch, instead of every few seconds."""
    monkeypatch.setattr(beat, "BEAT_SECONDS", 0.0)


@pytest.fixture
def source(make_source: MakeSource, stream: MemoryStream) -> Source:
    for number in range(ROWS):
        stream.send(prediction(f"r{number}"), f"t/{number % 2}")
    return make_source()


def is_read(source: Source, stream: MemoryStream) -> Callable[[], bool]:
    """Return what says whether all messages of a stream are stored."""
    ends = {name: messages[-1].offset + 1 for name, messages in stream.partitions.items()}

    def check() -> bool:
        return (
            dict(SourcePosition.objects.filter(source=source).values_list("partition", "next_offset")) == ends
        )

    return check


def consume(
    source: Source, stream: MemoryStream, until: Callable[[], bool] | None = None
) -> SourceConsumption:
    consumption = SourceConsumption(
        source.pk, Stop(until or is_read(source, stream)), open_stream=stream.open
    )
    consumption.run()
    return consumption


def ids() -> list[str]:
    return sorted(PredictionRow.objects.values_list("prediction_id", flat=True))


EVERY_ID = sorted(f"r{number}" for number in range(ROWS))


def test_every_message_is_stored_once_and_acknowledged(source: Source, stream: MemoryStream) -> None:
    assert consume(source, stream).total == Stored(rows=ROWS)

    assert ids() == EVERY_ID
    assert stream.acknowledged == {"t/0": 6, "t/1": 5}


@pytest.mark.slow
def test_another_consumer_goes_on_where_one_was_killed(source: Source, stream: MemoryStream) -> None:
    consume(source, stream, until=lambda: SourcePosition.objects.filter(next_offset__gt=0).exists())
    assert 0 < len(ids()) < ROWS

    consume(source, stream)

    assert ids() == EVERY_ID
    assert list(source.positions.order_by("partition").values_list("rows", flat=True)) == [6, 5]


def test_a_consumer_that_is_late_reads_on_at_the_position_of_the_other(
    source: Source, stream: MemoryStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it holds its first batch, another consumer stores the same messages and some more."""
    late = [True]

    def overtaken(one: Source, batch: Any, **others: Any) -> Stored:
        if late.pop() if late else False:
            store_batch(one, batch, **others)
        return store_batch(one, batch, **others)

    monkeypatch.setattr(consuming, "store_batch", overtaken)
    consumption = consume(source, stream)

    assert ids() == EVERY_ID
    assert consumption.total.rows + 4 == ROWS


def test_the_database_may_be_away_for_a_while(
    source: Source, stream: MemoryStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [True] * 5

    def away(one: Source, batch: Any, **others: Any) -> Stored:
        if failures:
            failures.pop()
            raise OperationalError("the server closed the connection unexpectedly")
        return store_batch(one, batch, **others)

    monkeypatch.setattr(consuming, "store_batch", away)
    monkeypatch.setattr(consuming, "close_old_connections", lambda: None)

    assert consume(source, stream).total == Stored(rows=ROWS)
    assert ids() == EVERY_ID


def test_the_broker_may_be_away_for_a_while(
    source: Source, stream: MemoryStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.is_away = True
    seen: list[str] = []

    def back_after_three() -> bool:
        if not stream.is_away:
            return is_read(source, stream)()
        seen.extend(SourceConsumer.objects.values_list("error", flat=True))
        stream.is_away = len(seen) < 3
        return False

    consume(source, stream, until=back_after_three)

    assert set(seen) == {"The broker is away."}
    assert ids() == EVERY_ID


def test_a_source_whose_packages_were_removed_says_which_command_adds_them(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, KAFKA)
    seen: list[str] = []

    def noted() -> bool:
        seen.extend(SourceConsumer.objects.values_list("error", flat=True))
        return any(seen)

    SourceConsumption(source.pk, Stop(noted)).run()

    assert "run make extra ADD=kafka where Driftline is installed" in seen[-1]


def test_an_error_with_characters_that_no_text_holds_is_shown_and_survived(
    source: Source, stream: MemoryStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll, errors = MemoryAdapter.poll, [ConnectorFailed("refused: \0 and \ud800")] * 2
    seen: set[str] = set()

    def fail_twice(adapter: MemoryAdapter, timeout_seconds: float) -> Any:
        if errors:
            raise errors.pop()
        return poll(adapter, timeout_seconds)

    def check() -> bool:
        seen.update(SourceConsumer.objects.values_list("error", flat=True))
        return is_read(source, stream)()

    monkeypatch.setattr(MemoryAdapter, "poll", fail_twice)
    consume(source, stream, check)

    assert "refused: \\x00 and \\ud800" in seen
    assert len(ids()) == ROWS


def test_an_error_that_nobody_foresaw_is_shown_and_survived(
    source: Source, stream: MemoryStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll, errors = MemoryAdapter.poll, [ZeroDivisionError("secret detail")] * 2
    seen: set[str] = set()

    def fragile(adapter: MemoryAdapter, timeout: float) -> Any:
        if errors:
            raise errors.pop()
        return poll(adapter, timeout)

    def look() -> bool:
        seen.update(SourceConsumer.objects.values_list("error", flat=True))
        return is_read(source, stream)()

    monkeypatch.setattr(MemoryAdapter, "poll", fragile)
    consume(source, stream, until=look)

    assert ids() == EVERY_ID
    assert "Driftline could not read on (ZeroDivisionError) and tries again; its log says more." in seen


def test_a_connection_that_was_closed_does_not_end_the_consumer(
    source: Source, stream: MemoryStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beat, "note_ends", _closed)
    monkeypatch.setattr(beat, "close_old_connections", lambda: None)

    assert consume(source, stream).total == Stored(rows=ROWS)


def _closed(*_: Any) -> None:
    raise InterfaceError("connection already closed")


def test_a_paused_source_is_let_alone_and_resumed_where_it_was(
    source: Source, stream: MemoryStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll = MemoryAdapter.poll

    def paused_meanwhile(adapter: MemoryAdapter, timeout: float) -> Any:
        set_enabled(source=Source.objects.get(), actor="ada", enabled=False)
        return poll(adapter, timeout)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryAdapter, "poll", paused_meanwhile)
        consume(source, stream, until=lambda: False)  # it ends by itself
    assert 0 < len(ids()) < ROWS
    assert statuses_of([Source.objects.select_related("model").get()])[source.pk].state == "paused"

    set_enabled(source=Source.objects.get(), actor="ada", enabled=True)
    consume(source, stream)
    assert ids() == EVERY_ID


def test_a_changed_mapping_counts_from_the_next_batch_on(
    source: Source, stream: MemoryStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed: list[bool] = []

    def change_once(adapter: MemoryAdapter, timeout: float) -> Any:
        if not changed:
            changed.append(True)
            update_source(
                source=Source.objects.get(),
                actor="ada",
                mapping=SourceMapping(version="model.number", default_version="9"),
            )
        return poll(adapter, timeout)

    poll = MemoryAdapter.poll
    monkeypatch.setattr(MemoryAdapter, "poll", change_once)
    consume(source, stream)

    assert stream.opened == 2
    versions = PredictionRow.objects.values_list("version__version", flat=True)
    assert set(versions) == {"1", "9"}


def test_a_deleted_source_ends_its_consumers(source: Source, stream: MemoryStream) -> None:
    def delete() -> bool:
        if found := Source.objects.select_related("project", "model").first():
            delete_source(source=found, confirm=found.name, actor="ada")
        return False

    consume(source, stream, until=delete)

    assert ids() == []


def test_too_many_dead_letters_hold_the_stream_until_they_are_discarded(
    source: Source, stream: MemoryStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MAX_LETTERS", 1)
    for poison in (b"{", b"["):
        stream.send(poison, "t/0")
        stream.send(prediction(f"after {poison!r}"), "t/0")
    seen: list[str] = []

    def discarded_after_two() -> bool:
        errors = SourceConsumer.objects.exclude(error="").values_list("error", flat=True)
        seen.extend(errors)
        if len(seen) == 2:
            DeadLetter.objects.all().delete()
        return is_read(source, stream)()

    consume(source, stream, until=discarded_after_two)

    assert "dead letters" in seen[0]
    assert len(ids()) == ROWS + 2


def test_a_model_that_takes_nothing_now_holds_the_stream(
    source: Source, stream: MemoryStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [Problem(503, "log_key_missing", "The home has no key.")] * 2

    def refuse(one: Source, batch: Any, **others: Any) -> Stored:
        if refusals:
            raise refusals.pop()
        return store_batch(one, batch, **others)

    monkeypatch.setattr(consuming, "store_batch", refuse)

    assert consume(source, stream).total == Stored(rows=ROWS)


def test_its_row_says_how_it_reads_and_goes_with_it(
    model: Model, source: Source, stream: MemoryStream
) -> None:
    seen: list[Any] = []

    def look() -> bool:
        seen.append(statuses_of([source])[source.pk])
        return is_read(source, stream)()

    consume(source, stream, until=look)

    running = next(one for one in seen if one.state == "running")
    assert (running.consumers, running.lag_messages) == (1, ROWS - running.messages)
    assert running.rows_per_second > 0
    last = statuses_of([source])[source.pk]
    assert (last.state, last.lag_messages, last.rows) == ("stopped", 0, ROWS)
