"""Rows are on the disk before their answer leaves, within a bound, and each number is given once."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import driftline_agent
from driftline_agent.rows.row_store import NotStored, RowStore
from driftline_agent.rows.row_tables import Damaged, NeedsSequence
from driftline_agent.server.device_clock import DeviceClock
from tests.driftline_agent.device import YEAR_2026_MS
from tests.driftline_agent.set_clock import SetClock

ROOM = 1 << 20
ALL = {"rows": 1_000_000, "max_bytes": 1 << 40, "earliest_ms": YEAR_2026_MS}


def opened(
    path: Path, *, room: int = ROOM, first: int | None = 1, clock: DeviceClock | None = None
) -> RowStore:
    rows = RowStore(path, max_bytes=room, clock=clock or DeviceClock(), first_sequence=first)
    _open.append(rows)
    return rows


_open: list[RowStore] = []


@pytest.fixture(autouse=True)
def close_all() -> Iterator[None]:
    yield
    while _open:
        _open.pop().close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.db"


class TestNumbers:
    def test_begin_where_the_server_said(self, path: Path) -> None:
        assert opened(path, first=41).append([b"a", b"b"]) == [41, 42]

    def test_go_on_after_a_restart_also_where_all_rows_were_sent(self, path: Path) -> None:
        rows = opened(path)
        rows.delete(rows.append([b"a", b"b"]))
        rows.close()

        assert opened(path).append([b"c"]) == [3]

    def test_are_asked_for_where_the_file_is_lost(self, path: Path) -> None:
        with pytest.raises(NeedsSequence):
            opened(path, first=None)

    def test_are_given_once_to_threads_that_store_at_the_same_time(self, path: Path) -> None:
        rows, numbers = opened(path), []
        threads = [
            threading.Thread(target=lambda: [numbers.extend(rows.append([b"a", b"b"])) for _ in range(50)])
            for _ in range(8)
        ]

        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(numbers) == list(range(1, 801))
        assert rows.unsent_rows() == 800


class TestTheBound:
    def test_drops_the_oldest_rows_and_counts_them(self, path: Path) -> None:
        rows = opened(path)

        for _ in range(60):
            rows.append([os.urandom(1_000)] * 100)

        waiting = [row.sequence for row in rows.oldest(**ALL)]
        assert waiting == list(range(waiting[0], 6_001))
        assert rows.dropped_rows() == 6_000 - len(waiting)
        assert path.stat().st_size <= ROOM

    @pytest.mark.slow
    @pytest.mark.parametrize("whole", [2, 10, 20])
    def test_keeps_the_newest_rows_also_where_some_are_only_added_up(self, whole: int, path: Path) -> None:
        rows = opened(path)
        are_whole = [place % 20 < whole for place in range(100)]

        for _ in range(120):
            rows.append([os.urandom(150)] * 100, are_whole)

        kinds = [rows.oldest(**ALL, are_whole=is_whole) for is_whole in (True, False)]
        waiting = sorted(row.sequence for kind in kinds for row in kind)
        assert waiting == list(range(waiting[0], 12_001))
        assert rows.dropped_rows() == 12_000 - len(waiting)

    @pytest.mark.slow
    def test_keeps_no_row_from_being_sent_where_the_file_has_no_free_page(self, path: Path) -> None:
        rows = opened(path)
        while not _is_full(rows):
            rows.append([bytes(150)])

        batch = rows.oldest(**ALL)

        assert len(batch) == rows.unsent_rows()
        assert rows.dropped_rows() == 0

    @pytest.mark.slow
    def test_holds_for_the_file_and_its_log_together_all_the_time(self, path: Path) -> None:
        rows = opened(path)

        sizes = []
        for _ in range(60):
            rows.append([os.urandom(1_000)] * 100)
            sizes.append(sum(one.stat().st_size for one in path.parent.iterdir()))

        assert ROOM / 2 < max(sizes) <= ROOM

    def test_holds_where_many_threads_store_at_once(self, path: Path) -> None:
        rows = opened(path)
        bodies = [os.urandom(1_000)] * 100
        threads = [threading.Thread(target=rows.append, args=[bodies]) for _ in range(20)]

        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert rows.unsent_rows() + rows.dropped_rows() == 2_000
        assert sum(one.stat().st_size for one in path.parent.iterdir()) <= ROOM

    def test_refuses_a_request_that_has_no_room_by_itself(self, path: Path) -> None:
        rows = opened(path)
        rows.append([b"small"])

        with pytest.raises(NotStored):
            rows.append([os.urandom(2 * ROOM)])

        assert rows.append([b"small again"])

    def test_is_kept_for_what_others_store_when_one_request_is_too_large(self, path: Path) -> None:
        rows = opened(path)
        with pytest.raises(NotStored):
            rows.append([os.urandom(2 * ROOM)])

        numbers = rows.append([b"a", b"b"])

        assert [row.body for row in rows.oldest(**ALL)] == [b"a", b"b"]
        assert len(set(numbers)) == 2


def _is_full(rows: RowStore) -> bool:
    pages, most, free = (
        rows.db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "max_page_count", "freelist_count")
    )
    return pages == most and free == 0


KILLED = """
import os, sys
from pathlib import Path
from driftline_agent.server.device_clock import DeviceClock
from driftline_agent.rows.row_store import RowStore
rows = RowStore(Path(sys.argv[1]), max_bytes=1 << 20, clock=DeviceClock(), first_sequence=1)
for _ in range(25):
    print(rows.append([b"a"])[0], flush=True)
os.kill(os.getpid(), 9)
"""


def test_what_was_acknowledged_is_there_after_a_kill(path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(driftline_agent.__file__).parents[1])}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -9

    rows = opened(path)

    assert [row.sequence for row in rows.oldest(**ALL)] == [int(line) for line in killed.stdout.split()]


def test_a_file_that_is_damaged_is_noticed_when_it_is_opened(path: Path) -> None:
    rows = opened(path)
    rows.append([os.urandom(1_000)] * 100)
    rows.close()
    content = bytearray(path.read_bytes())
    content[4_096:40_960] = os.urandom(36_864)
    path.write_bytes(content)

    with pytest.raises(Damaged):
        opened(path)


class TestTimes:
    def test_are_the_servers_also_of_rows_that_were_stored_before_it_was_heard_of(self, path: Path) -> None:
        clock = SetClock(running=10_000, wall=0)  # 1970
        rows = opened(path, clock=clock)
        rows.append([b"a"])
        clock.running = 70_000

        clock.hear(YEAR_2026_MS + 100_000)

        assert [row.event_ms for row in rows.oldest(**ALL)] == [YEAR_2026_MS + 40_000]

    def test_of_a_former_start_of_the_machine_are_as_it_was_measured_then(self, path: Path) -> None:
        before = SetClock("first", running=5_000, wall=0)
        rows = opened(path, clock=before)
        rows.append([b"a"])
        before.hear(YEAR_2026_MS + 50_000)
        rows.note_clock()
        rows.close()
        after = SetClock("second", running=1_000, wall=0)
        after.hear(YEAR_2026_MS + 900_000)

        rows = opened(path, clock=after)

        assert [row.event_ms for row in rows.oldest(**ALL)] == [YEAR_2026_MS + 50_000]

    @pytest.mark.parametrize(
        ("wall", "event"),
        [
            (0, YEAR_2026_MS),
            (YEAR_2026_MS + 5_000, YEAR_2026_MS + 5_000),
            (YEAR_2026_MS * 2, YEAR_2026_MS + 900_000),
        ],
        ids=["1970", "right", "far ahead"],
    )
    def test_that_nobody_measured_lie_between_the_enrolment_and_now(
        self, path: Path, wall: int, event: int
    ) -> None:
        rows = opened(path, clock=SetClock("first", wall=wall))
        rows.append([b"a"])
        rows.close()
        after = SetClock("second", wall=wall)
        after.hear(YEAR_2026_MS + 900_000)

        rows = opened(path, clock=after)

        assert [row.event_ms for row in rows.oldest(**ALL)] == [event]

    def test_stay_as_they_were_sent_first(self, path: Path) -> None:
        clock = SetClock()
        rows = opened(path, clock=clock)
        rows.append([b"a"])
        clock.hear(YEAR_2026_MS + 5_000)
        first = rows.oldest(**ALL)

        clock.hear(YEAR_2026_MS + 90_000)

        assert rows.oldest(**ALL) == first


class TestBatches:
    def test_hold_the_oldest_rows_up_to_a_number_and_a_size(self, path: Path) -> None:
        rows = opened(path)
        rows.append([b"x" * 100] * 10)

        few = rows.oldest(rows=3, max_bytes=1 << 20, earliest_ms=0)
        small = rows.oldest(rows=10, max_bytes=450, earliest_ms=0)

        assert [row.sequence for row in few] == [1, 2, 3]
        assert [row.sequence for row in small] == [1, 2, 3, 4]

    def test_hold_a_row_that_is_larger_than_they_may_be(self, path: Path) -> None:
        rows = opened(path)
        rows.append([b"x" * 1_000])

        assert len(rows.oldest(rows=10, max_bytes=10, earliest_ms=0)) == 1

    def test_that_were_refused_for_good_count_as_dropped(self, path: Path) -> None:
        rows = opened(path)
        numbers = rows.append([b"a"] * 5)

        rows.delete(numbers, refused=2)

        assert (rows.unsent_rows(), rows.dropped_rows()) == (0, 2)


def test_a_file_of_an_agent_that_sent_all_rows_whole_goes_on(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute(
        "CREATE TABLE rows (sequence INTEGER PRIMARY KEY AUTOINCREMENT, boot TEXT NOT NULL, "
        "running_ms INTEGER NOT NULL, wall_ms INTEGER NOT NULL, event_ms INTEGER, body BLOB NOT NULL)"
    )
    db.execute("INSERT INTO rows (boot, running_ms, wall_ms, body) VALUES ('first', 1, 1, ?)", [b"old"])
    db.execute("CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL)")
    db.commit()
    db.close()
    rows = opened(path, first=None)

    rows.append([b"whole", b"added up"], [True, False])

    assert [row.body for row in rows.oldest(**ALL)] == [b"old", b"whole"]
    assert [row.body for row in rows.oldest(**ALL, are_whole=False)] == [b"added up"]
