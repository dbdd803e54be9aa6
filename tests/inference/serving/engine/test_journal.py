"""Records reach the disk in groups: what came during one sync goes with the next."""

import asyncio
import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inference.prediction_log.spool.record import RequestCounts, encode_record
from inference.prediction_log.spool.segments import SpoolReader, SpoolWriter
from inference.serving.engine.journal import Journal
from tests.inference.serving.running import HeldDisk

OpenJournal = Callable[[Callable[[], object]], Journal]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> HeldDisk:
    disk = HeldDisk()
    monkeypatch.setattr("inference.serving.engine.journal.open_disk_sync", lambda: disk)
    return disk


@pytest.fixture
def open_journal(disk: HeldDisk, tmp_path: Path) -> Iterator[OpenJournal]:
    writer = SpoolWriter(tmp_path, "main")
    journals: list[Journal] = []

    def open_one(before_next: Callable[[], object]) -> Journal:
        journals.append(Journal(writer, "group", before_next))
        return journals[-1]

    yield open_one
    for journal in journals:
        journal.close()
    writer.close()


class TestGroup:
    def test_syncs_together_what_came_during_a_sync(self, disk: HeldDisk, open_journal: OpenJournal) -> None:
        journal = open_journal(lambda: None)
        safe: list[str] = []

        journal.write([b"first"], lambda error: safe.append("first"))
        journal.flush()
        journal.write([b"second"], lambda error: safe.append("second"))
        journal.write([b"third"], lambda error: safe.append("third"))
        journal.flush()
        disk.finish()
        after_one_sync = list(safe)
        disk.finish()

        assert after_one_sync == ["first"]
        assert safe == ["first", "second", "third"]
        assert journal.is_settled()

    def test_lets_no_record_wait_for_all_of_a_large_request(
        self, disk: HeldDisk, open_journal: OpenJournal
    ) -> None:
        journal = open_journal(lambda: None)
        safe: list[str] = []

        journal.write([b"a piece"] * 3, lambda error: safe.append("large"))
        journal.flush()
        journal.write([b"small"], lambda error: safe.append("small"))
        for _ in range(2):
            disk.finish()
        after_two_syncs = list(safe)
        while disk.under_way:
            disk.finish()

        assert after_two_syncs == ["small"]
        assert safe == ["small", "large"]
        assert journal.is_settled()

    def test_tells_once_where_the_disk_fails_half_way(
        self, disk: HeldDisk, open_journal: OpenJournal
    ) -> None:
        journal = open_journal(lambda: None)
        told: list[OSError | None] = []

        journal.write([b"a piece"] * 3, told.append)
        journal.flush()
        disk.finish()
        disk.finish(errno.EIO)

        assert [error and error.errno for error in told] == [errno.EIO]
        assert journal.is_settled()

    def test_starts_the_next_sync_before_the_answers_leave(
        self, disk: HeldDisk, open_journal: OpenJournal
    ) -> None:
        waiting = [b"second"]
        journal = open_journal(
            lambda: waiting and journal.write([waiting.pop()], lambda error: safe.append("second"))
        )
        safe: list[str] = []
        under_way_as_the_first_left: list[bool] = []

        journal.write([b"first"], lambda error: under_way_as_the_first_left.append(journal.in_flight))
        journal.flush()
        disk.finish()
        disk.finish()

        assert under_way_as_the_first_left == [True]
        assert safe == ["second"]

    def test_tells_only_those_whose_sync_failed(self, disk: HeldDisk, open_journal: OpenJournal) -> None:
        journal = open_journal(lambda: None)
        errors: list[OSError | None] = []

        journal.write([b"first"], errors.append)
        journal.flush()
        journal.write([b"second"], errors.append)
        disk.finish(code=5)
        disk.finish()

        assert [error and error.errno for error in errors] == [5, None]


class TestInterval:
    """Answers leave once the record is written; the disk follows."""

    @pytest.fixture
    def writer(self, tmp_path: Path) -> Iterator[SpoolWriter]:
        writer = SpoolWriter(tmp_path, "main", reserved_bytes=4096, background_sync=True)
        yield writer
        writer.close()

    async def test_syncs_soon_what_was_written_and_nobody_waits_for_it(
        self, disk: HeldDisk, writer: SpoolWriter
    ) -> None:
        journal = Journal(writer, "interval", lambda: None, sync_s=0.0)
        safe: list[OSError | None] = []

        journal.write([b"first"], safe.append)
        before_the_sync = list(safe)
        await until(lambda: disk.under_way)
        journal.write([b"second"], safe.append)
        during_the_sync = list(safe)
        disk.finish()
        await until(lambda: disk.under_way)
        disk.finish()

        assert (before_the_sync, during_the_sync) == ([None], [None, None])
        assert journal.is_settled()
        journal.close()

    async def test_asks_the_disk_nothing_while_nothing_is_written(
        self, disk: HeldDisk, writer: SpoolWriter
    ) -> None:
        journal = Journal(writer, "interval", lambda: None, sync_s=0.0)
        journal.write([b"only"], lambda error: None)
        await until(lambda: disk.under_way)
        disk.finish()

        for _ in range(10):
            await asyncio.sleep(0)

        assert not disk.under_way
        journal.close()

    async def test_begins_a_new_segment_after_a_sync_that_failed(
        self, disk: HeldDisk, writer: SpoolWriter, tmp_path: Path
    ) -> None:
        journal = Journal(writer, "interval", lambda: None, sync_s=0.0)
        journal.write([encode_record(COUNTS)], lambda error: None)
        await until(lambda: disk.under_way)
        disk.finish(errno.EIO)

        journal.write([encode_record(COUNTS)], lambda error: None)

        reader = SpoolReader(tmp_path, "main")
        records, segment, _ = reader.read(0, 0, 1 << 20)
        assert (records, segment) == ([COUNTS, COUNTS], 2)
        await until(lambda: disk.under_way)
        disk.finish()
        journal.close()


COUNTS = RequestCounts(0, [])


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)
