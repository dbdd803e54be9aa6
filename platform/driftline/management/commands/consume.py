import argparse
import signal
import threading
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError, close_old_connections, connection, connections

from driftline.base.accounts.models import AuditReceiver
from driftline.base.feature import FeatureConsumer, features
from driftline.base.processes.forked_workers import ForkedWorkers
from driftline.base.processes.priority import lower_priority
from driftline.operations.audit_export.sending import exports_to_send, send_export
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.reading.adapters import import_adapter
from inference.prediction_log.sources.reading.consuming import SourceConsumption

NICENESS = 2  # to the serving processes, beside which it is started
LOOK_SECONDS = 2.0
MAX_PROCESSES = 64


class Command(BaseCommand):
    requires_system_checks = ()  # they load every page, and one that was killed is to be back at once
    help = (
        "Reads sources until it is stopped: one by its name, or every one of the installation that is not paused. "
        "Several of these commands share the partitions of a source. Without a name it sends to the sinks too, "
        "and the audit trail to its receivers."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--source", help="the name of one; without it all are read, each in its own thread"
        )
        parser.add_argument("--project", help="of the source, where several projects have one of this name")
        parser.add_argument(
            "--processes",
            type=_processes,
            default=1,
            help="of one source: how many consumers share its partitions; one that dies is replaced at once",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        lower_priority(NICENESS)
        if options["source"] is None:
            if options["processes"] > 1:
                raise CommandError("--processes is of one source; add --source with its name.")
            _read_all(_stop_by_signal())
            return
        source = _find_source(options["source"], options["project"])
        if options["processes"] == 1:
            self._read(source)
            return
        import_adapter(source)
        connections.close_all()
        ForkedWorkers(lambda: self._read(source), options["processes"]).run()

    def _read(self, source: Source) -> None:
        rows = _read_one(source, _stop_by_signal())
        self.stdout.write(f"Stored {rows:,} rows.")


def _processes(text: str) -> int:
    count = int(text)
    if not 1 <= count <= MAX_PROCESSES:
        raise argparse.ArgumentTypeError(f"use 1 to {MAX_PROCESSES} processes")
    return count


def _stop_by_signal() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _find_source(name: str, project: str | None) -> Source:
    found = Source.objects.filter(name=name).select_related("project")
    if project is not None:
        found = found.filter(project__slug=project)
    sources = list(found[:2])
    if not sources:
        raise CommandError(f"There is no source {name!r}; create one on the page Sources or by the API.")
    if len(sources) > 1:
        raise CommandError(f"Several projects have a source {name!r}; add --project SLUG.")
    return sources[0]


def _read_one(source: Source, stop: threading.Event) -> int:
    """Read a source until it is stopped or deleted, also after pauses and changes; returns the rows that were new."""
    rows = 0
    while not stop.is_set() and _exists(source):
        reading = SourceConsumption(source.pk, stop)
        reading.run()
        rows += reading.total.rows
        stop.wait(LOOK_SECONDS)
    return rows


def _exists(source: Source) -> bool:
    try:
        return Source.objects.filter(pk=source.pk).exists()
    except (OperationalError, InterfaceError):
        close_old_connections()
        return True


def _read_all(stop: threading.Event) -> None:
    """Keep threads for what features read and send, as many as this process may, and for receivers of the audit trail.

    Returns once it is stopped or cannot go on.
    """
    consumers = [*chain.from_iterable(feature.consumers for feature in features()), _AUDIT]
    threads = [(one, _Threads(one.work, stop, one.max_threads)) for one in consumers]
    try:
        while not stop.wait(LOOK_SECONDS):
            try:
                for one, kept in threads:
                    one.note_unserved(kept.start(one.wanted()))
            except (OperationalError, InterfaceError):
                close_old_connections()
    finally:
        stop.set()  # also where a thread could not be started: whoever started this process starts it again
        for one, kept in threads:
            one.note_unserved(set())
            kept.end()


_AUDIT = FeatureConsumer(
    lambda: exports_to_send().values_list("pk", flat=True), send_export, len(AuditReceiver)
)


class _Threads:
    """A thread for each row that this process works on, up to so many."""

    def __init__(
        self, work: Callable[[int, threading.Event], None], stop: threading.Event, max_threads: int
    ) -> None:
        self._work, self._stop, self._max_threads = work, stop, max_threads
        self._threads: dict[int, threading.Thread] = {}

    def start(self, wanted: Iterable[int]) -> set[int]:
        """Start threads for those that have none, also where one ended; return those for which there is no room."""
        self._threads = {pk: thread for pk, thread in self._threads.items() if thread.is_alive()}
        without = set[int]()
        for pk in wanted:
            if pk in self._threads:
                continue
            if len(self._threads) >= self._max_threads:
                without.add(pk)
                continue
            thread = threading.Thread(target=self._run, args=(pk,))
            thread.start()
            self._threads[pk] = thread
        return without

    def _run(self, pk: int) -> None:
        try:
            self._work(pk, self._stop)
        finally:
            connection.close()

    def end(self) -> None:
        """Wait for the threads."""
        for thread in self._threads.values():
            thread.join()
