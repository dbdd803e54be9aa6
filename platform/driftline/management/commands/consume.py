import argparse
import signal
import threading
from collections.abc import Callable, Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError, close_old_connections, connection, connections

from driftline.accounts.audit_export.sending import exports_to_send, send_export
from driftline.accounts.models import AuditReceiver
from driftline.common.forked_workers import ForkedWorkers
from driftline.common.priority import lower_priority
from inference.prediction_log.sources.adapters import import_adapter
from inference.prediction_log.sources.beat import Beat
from inference.prediction_log.sources.consuming import SourceConsumption
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.selectors import MAX_SOURCES_READ, read_elsewhere, sources_to_read
from monitors.sinks.selectors import MAX_SINKS_SENT, sinks_to_send

NICENESS = 2  # to the serving processes, beside which it is started
LOOK_SECONDS = 2.0
MAX_PROCESSES = 64
NOT_READ = (
    f"This process reads {MAX_SOURCES_READ} sources, as many as it may. "
    "Run `manage.py consume --source` with the name of this one."
)


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
    """Read the sources that are to be read, as many as this process may, and send to sinks and audit receivers.

    Returns once it is stopped or cannot go on.
    """
    reading = _Threads(_read_in_thread, stop, MAX_SOURCES_READ)
    sending = _Threads(_send_in_thread, stop, MAX_SINKS_SENT)
    auditing = _Threads(_send_audit_in_thread, stop, len(AuditReceiver))
    unread = _UnreadSources()
    try:
        while not stop.wait(LOOK_SECONDS):
            try:
                unread.update(reading.start(sources_to_read().values_list("pk", flat=True)))
                sending.start(sinks_to_send().values_list("pk", flat=True))
                auditing.start(exports_to_send().values_list("pk", flat=True))
            except (OperationalError, InterfaceError):
                close_old_connections()
    finally:
        stop.set()  # also where a thread could not be started: whoever started this process starts it again
        unread.update(set())
        reading.end()
        sending.end()
        auditing.end()


class _Threads:
    """A thread for each source or sink that this process has, up to so many."""

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
            thread = threading.Thread(target=self._work, args=(pk, self._stop))
            thread.start()
            self._threads[pk] = thread
        return without

    def end(self) -> None:
        """Wait for the threads."""
        for thread in self._threads.values():
            thread.join()


class _UnreadSources:
    """A row for each source that no process reads, which says why."""

    def __init__(self) -> None:
        self._beats: dict[int, Beat] = {}

    def update(self, unread: set[int]) -> None:
        """Renew the rows of these, and end those of others."""
        for source_id in set(self._beats) - unread:
            self._beats.pop(source_id).end()
        for source_id in unread - set(read_elsewhere(unread)):
            beat = self._beats.setdefault(source_id, Beat(source_id))
            if beat.is_due():
                beat.renew("waiting", NOT_READ)


def _read_in_thread(source_id: int, stop: threading.Event) -> None:
    try:
        SourceConsumption(source_id, stop).run()
    finally:
        connection.close()


def _send_in_thread(sink_id: int, stop: threading.Event) -> None:
    from monitors.sinks.sending import SinkSender  # Kafka's library is loaded where it is used

    try:
        SinkSender(sink_id, stop).run()
    finally:
        connection.close()


def _send_audit_in_thread(export_id: int, stop: threading.Event) -> None:
    try:
        send_export(export_id, stop)
    finally:
        connection.close()
