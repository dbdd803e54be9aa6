"""A file of rows that is lost, damaged or out of reach holds no answer up, and no number is given twice."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from driftline_agent.agent import Agent, Options
from driftline_agent.errors import NotReached
from driftline_agent.rows import row_store
from driftline_agent.rows.row_file import RowFile, make_row_file
from driftline_agent.rows.row_store import JUMP, RowStore
from driftline_agent.server.device_clock import DeviceClock
from driftline_agent.server.identity import store_identity
from tests.driftline_agent.device import IDENTITY, PlayedDevice, enrol_in, times
from tests.driftline_agent.processes import AgentProcess
from tests.waiting import wait_until

ROOM = 1 << 20


@pytest.fixture
def file(tmp_path: Path) -> RowFile:
    return RowFile(tmp_path, max_bytes=ROOM, clock=DeviceClock())


def first_number(rows: RowStore | None) -> int:
    """Give the next number of an open file, which is closed then."""
    assert rows is not None
    (number,) = rows.append([b"a"])
    rows.close()
    return number


def spoil(path: Path) -> None:
    path.write_bytes(b"no database" * 1_000)


class TestAFileThatIsLost:
    @pytest.mark.parametrize("content", [None, b""], ids=["not there", "empty after a power cut"])
    def test_begins_anew_once_the_server_named_a_number(
        self, file: RowFile, tmp_path: Path, content: bytes | None
    ) -> None:
        if content is not None:
            (tmp_path / "rows.db").write_bytes(content)
        assert file.open() is None

        file.next_sequence = 41

        assert first_number(file.open()) == 41 + JUMP

    def test_takes_over_nothing_of_the_log_that_is_beside(self, file: RowFile, tmp_path: Path) -> None:
        (tmp_path / "rows.db-wal").write_bytes(b"of the file of before")
        file.next_sequence = 1

        assert first_number(file.open()) == 1 + JUMP
        assert (tmp_path / "rows.damaged-wal").read_bytes() == b"of the file of before"


class TestAFileThatIsDamaged:
    def test_is_put_aside_with_its_log(self, file: RowFile, tmp_path: Path) -> None:
        make_row_file(tmp_path, 1, max_bytes=ROOM)
        rows = file.open()
        assert rows is not None
        rows.append([b"to be rescued"])
        kept = {
            rest: (tmp_path / f"rows.db{rest}").read_bytes() for rest in ("", "-wal")
        }  # as after a power cut
        rows.close()
        (tmp_path / "rows.db").write_bytes(b"no database" + kept[""])
        (tmp_path / "rows.db-wal").write_bytes(kept["-wal"][:32] + b"torn" + kept["-wal"][36:])

        assert file.open() is None

        assert (tmp_path / "rows.damaged").read_bytes().startswith(b"no database")
        assert b"to be rescued" in (tmp_path / "rows.damaged-wal").read_bytes()

    def test_begins_anew_with_numbers_that_were_never_used(self, file: RowFile, tmp_path: Path) -> None:
        spoil(tmp_path / "rows.db")
        file.next_sequence = 7
        file.open()

        assert first_number(file.open()) == 7 + JUMP


class TestAFileThatCannotBeOpenedNow:
    def test_stays_where_it_is_with_its_rows(
        self, file: RowFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_row_file(tmp_path, 1, max_bytes=ROOM)
        file.next_sequence = 1

        def refuse(*_: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        with monkeypatch.context() as sick:
            sick.setattr(row_store, "set_limits", refuse)
            assert file.open() is None

        assert first_number(file.open()) == 1
        assert not (tmp_path / "rows.damaged").exists()


class TestAnEnrolment:
    def test_on_a_new_disk_skips_numbers_that_the_old_one_may_have_given(
        self, file: RowFile, tmp_path: Path
    ) -> None:
        make_row_file(tmp_path, 5, max_bytes=ROOM)

        assert first_number(file.open()) == 5 + JUMP

    def test_on_the_same_disk_goes_on(self, file: RowFile, tmp_path: Path) -> None:
        make_row_file(tmp_path, 1, max_bytes=ROOM)
        assert first_number(file.open()) == 1

        make_row_file(tmp_path, 2, max_bytes=ROOM)

        assert first_number(file.open()) == 2


@contextmanager
def running(home: Path) -> Iterator[Agent]:
    agent = Agent(Options(home, port=0, poll_seconds=0.01, send_seconds=0.01))
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        yield agent
    finally:
        agent.stop()
        thread.join()


def test_an_agent_without_its_file_and_without_a_network_answers_at_once_and_stores_again_later(
    device: PlayedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.server.offer(times(3), "3")
    device.updater.poll()
    store_identity(device.home, IDENTITY)
    with running(device.home) as agent:
        program = AgentProcess(device.home, "truck", port=agent.port)
        without = program.ask(2.0)
        counted: list[int] = []

        def answer(**status: int) -> int:
            counted.append(status["dropped_rows"])
            return 41

        def be_away(*_: object) -> None:
            raise NotReached("it is away")

        monkeypatch.setattr(agent._uplink, "send_rows", be_away)
        monkeypatch.setattr(agent._uplink, "send_status", answer)
        wait_until(lambda: agent._rows is not None, what="the file of rows is open")
        program.ask(2.0)

    assert without is not None
    assert without["outputs"][0]["data"] == [6.0]
    assert "parameters" not in without
    assert counted[0] == 1
    assert program.answered == [f"truck-{41 + JUMP}"]


def test_a_file_that_is_damaged_while_the_agent_runs_is_put_aside_without_a_restart(
    device: PlayedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.server.offer(times(3), "3")
    device.updater.poll()
    enrol_in(device.home)
    with closing(RowFile(device.home, max_bytes=64 << 20, clock=DeviceClock()).open_or_make(None)) as rows:
        rows.append([b'{"features":"%0500d"}' % number for number in range(10_000)])
    with running(device.home) as agent:
        with (device.home / "rows.db").open("r+b") as content:  # as an SD card does
            content.seek(8_192)
            content.write(bytes(1 << 20))
        monkeypatch.setattr(agent._uplink, "send_status", lambda **_: 41)
        wait_until(lambda: (device.home / "rows.damaged").exists(), what="the file is put aside")
        wait_until(lambda: agent._rows is not None, what="another file is open")
        program = AgentProcess(device.home, "truck", port=agent.port)
        program.ask(2.0)

    assert program.answered == [f"truck-{41 + JUMP}"]
