"""`manage.py consume` finds the source that is named, and says what to do where it cannot."""

import threading
import uuid
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from driftline.base.accounts.models import Project
from driftline.management.commands import consume
from inference.prediction_log.sources.models import Source, SourceConsumer
from inference.prediction_log.sources.reading import threads
from inference.prediction_log.sources.selectors import sources_to_read, statuses_of
from inference.prediction_log.sources.services import set_enabled
from inference.registry.models import Model
from tests.inference.prediction_log.sources.conftest import MakeSource
from tests.worlds.approvals import make_model
from tests.worlds.every_kind import make_source as make_other


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The projects of the sources that are read."""
    found: list[str] = []

    def note(source: Source, stop: Any) -> int:
        found.append(source.project.slug)
        return 1_234

    monkeypatch.setattr(consume, "_read_one", note)
    monkeypatch.setattr(consume, "lower_priority", lambda _: None)
    monkeypatch.setattr(consume.signal, "signal", lambda *_: None)
    return found


def test_an_unknown_name_is_refused(read: list[str], model: Model) -> None:
    with pytest.raises(CommandError, match="create one on the page Sources"):
        call_command("consume", source="scores")


def test_a_name_of_two_projects_needs_the_project(read: list[str], make_source: MakeSource) -> None:
    make_source()
    make_other(make_model(Project.objects.create(slug="q", name="Q")), "scores")

    with pytest.raises(CommandError, match="add --project SLUG"):
        call_command("consume", source="scores")
    output = StringIO()
    call_command("consume", source="scores", project="q", stdout=output)

    assert read == ["q"]
    assert output.getvalue() == "Stored 1,234 rows.\n"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sources that a thread is started for; each lives until it is stopped."""
    found: list[int] = []

    class Reading:
        def __init__(self, source_id: int, stop: threading.Event) -> None:
            self._source_id, self._stop = source_id, stop

        def run(self) -> None:
            found.append(self._source_id)
            self._stop.wait()

    monkeypatch.setattr(threads, "SourceConsumption", Reading)
    monkeypatch.setattr(threads, "MAX_SOURCES_READ", 2)
    return found


def test_sources_beyond_those_that_a_process_may_read_say_why_they_wait(
    make_source: MakeSource, started: list[int]
) -> None:
    sources = [make_source(name) for name in ("first", "second", "third")]
    stop = threading.Event()
    (consumer,) = threads.consumers()
    reading = consume._Threads(consumer.work, stop, consumer.max_threads)

    consumer.note_unserved(reading.start(consumer.wanted()))
    statuses = statuses_of(sources)
    stop.set()
    consumer.note_unserved(set())
    reading.end()

    assert sorted(started) == [sources[0].pk, sources[1].pk]
    assert statuses[sources[2].pk].state == "waiting"
    assert "consume --source" in statuses[sources[2].pk].error
    assert not SourceConsumer.objects.exists()


def test_a_source_that_another_process_reads_does_not_wait(
    make_source: MakeSource, started: list[int]
) -> None:
    sources = [make_source(name) for name in ("first", "second", "third")]
    SourceConsumer.objects.create(id=uuid.uuid4(), source=sources[2], host="other", state="running")
    stop = threading.Event()
    (consumer,) = threads.consumers()
    reading = consume._Threads(consumer.work, stop, consumer.max_threads)

    consumer.note_unserved(reading.start(consumer.wanted()))
    status = statuses_of(sources)[sources[2].pk]
    stop.set()
    consumer.note_unserved(set())
    reading.end()

    assert (status.state, status.error) == ("running", "")


def test_a_thread_that_cannot_be_started_ends_the_process(
    make_source: MakeSource, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_source("first"), make_source("second")
    start, starts = threading.Thread.start, [0]

    def fail_at_the_second(thread: threading.Thread) -> None:
        starts[0] += 1
        if starts[0] == 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail_at_the_second)
    monkeypatch.setattr(consume, "LOOK_SECONDS", 0.0)
    stop = threading.Event()

    with pytest.raises(RuntimeError):
        consume._read_all(stop)

    assert stop.is_set()


def test_paused_sources_and_those_of_archived_models_are_not_read(
    make_source: MakeSource, model: Model
) -> None:
    first, second = make_source("first"), make_source("second")

    set_enabled(source=first, actor="ada", enabled=False)
    assert list(sources_to_read()) == [second]

    Model.objects.filter(pk=model.pk).update(archived_at=first.created_at)
    assert not sources_to_read().exists()
