"""Records reach the disk in groups: what came during one sync goes with the next."""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inference.prediction_log.spool import SpoolWriter
from inference.serving.journal import Journal
from tests.inference.serving.running import HeldDisk

OpenJournal = Callable[[Callable[[], object]], Journal]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> HeldDisk:
    disk = HeldDisk()
    monkeypatch.setattr("inference.serving.journal.open_disk_sync", lambda: disk)
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
