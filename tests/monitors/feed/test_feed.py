"""The feed: every event once and in one order, whichever order transactions commit in."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier, Event, Thread

import pytest
from django.db import connection, transaction

from driftline.base.accounts.models import Project
from monitors.feed.models import FeedEvent
from monitors.feed.selectors import events_after
from monitors.feed.services import KEPT, forget_old_events, record_event

WRITERS, EACH = 4, 25


@pytest.fixture
def project(db: None) -> Project:
    return Project.objects.create(slug="airport", name="Airport")


def record(project: Project, text: str = "it happened") -> FeedEvent:
    return record_event(project=project, kind="version.created", subject="model-1", text=text)


def follow(project: Project, *, limit: int = 3) -> Iterator[FeedEvent]:
    """Read pages until nothing is left."""
    number, more = 0, True
    while more:
        found, more = events_after(project=project, number=number, limit=limit)
        yield from found
        number = found[-1].number if found and found[-1].number else number


class TestOrder:
    def test_is_that_of_writing_within_one_transaction(self, project: Project) -> None:
        texts = [f"event {number}" for number in range(10)]
        for text in texts:
            record(project, text)

        assert [event.text for event in follow(project)] == texts

    def test_has_each_event_on_one_page(self, project: Project) -> None:
        for _ in range(10):
            record(project)

        found, more = events_after(project=project, number=0, limit=10)

        assert (len(found), more) == (10, False)

    def test_is_of_one_project(self, project: Project) -> None:
        record(Project.objects.create(slug="bank", name="Bank"))

        assert list(follow(project)) == []

    @pytest.mark.django_db(transaction=True)
    def test_skips_no_event_of_a_transaction_that_commits_late(self, project: Project) -> None:
        is_written, may_commit = Event(), Event()

        def write_slowly() -> None:
            with transaction.atomic():
                record(project, "slow")
                is_written.set()
                may_commit.wait(30)
            connection.close()

        writer = Thread(target=write_slowly)
        writer.start()
        is_written.wait(30)
        record(project, "quick")  # of a later key, committed first
        [quick], _ = events_after(project=project, number=0, limit=10)
        may_commit.set()
        writer.join()

        rest, _ = events_after(project=project, number=quick.number or 0, limit=10)

        assert (quick.text, [event.text for event in rest]) == ("quick", ["slow"])
        assert rest[0].pk < quick.pk

    @pytest.mark.slow
    @pytest.mark.django_db(transaction=True)
    def test_gives_each_event_once_to_readers_beside_writers(self, project: Project) -> None:
        together = Barrier(WRITERS + 2)
        written = Event()

        def write(seed: int) -> None:
            order = random.Random(seed)
            together.wait(30)
            for number in range(EACH):
                with transaction.atomic():
                    for _ in range(order.randrange(3)):
                        connection.cursor().execute("SELECT pg_sleep(%s)", [order.random() / 200])
                    record(project, f"{seed}-{number}")
            connection.close()

        def read() -> list[str]:
            together.wait(30)
            seen: list[str] = []
            number, is_last = 0, False
            while True:
                found, more = events_after(project=project, number=number, limit=7)
                seen += [event.text for event in found]
                number = found[-1].number or 0 if found else number
                if is_last and not more:
                    connection.close()
                    return seen
                is_last = written.is_set()

        with ThreadPoolExecutor(WRITERS + 2) as pool:
            readers = [pool.submit(read) for _ in range(2)]
            writers = [pool.submit(write, seed) for seed in range(WRITERS)]
            for writer in writers:
                writer.result()
            written.set()
            first, second = (reader.result() for reader in readers)

        assert first == second, "both see the same order"
        assert sorted(first) == sorted(
            f"{seed}-{number}" for seed in range(WRITERS) for number in range(EACH)
        )

    def test_goes_on_with_larger_numbers_after_events_were_deleted(self, project: Project) -> None:
        record(project)
        [before] = follow(project)
        FeedEvent.objects.all().delete()
        record(project)

        [after], _ = events_after(project=project, number=before.number or 0, limit=10)

        assert (after.number or 0) > (before.number or 0)


class TestKeeping:
    def test_ends_after_ninety_days(self, project: Project) -> None:
        now = datetime.now(UTC)
        old, young = record(project, "old"), record(project, "young")
        FeedEvent.objects.filter(pk=old.pk).update(at=now - KEPT - timedelta(seconds=1))

        forget_old_events(now)

        assert list(FeedEvent.objects.all()) == [young]

    def test_cuts_a_text_and_folds_its_lines(self, project: Project) -> None:
        event = record(project, "a\r\nSubject: b\x00" + "x" * 5_000)

        assert event.text.startswith("a Subject: b x")
        assert len(event.text) == 300
