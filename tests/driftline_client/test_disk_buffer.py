"""A client whose items wait in a folder: what it accepted is sent once, whatever happens to its process."""

import contextlib
import errno
import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import driftline_client
from driftline_client import Counts, DriftlineError, ModelHandle
from inference.prediction_log.models import PredictionRow
from tests.driftline_client.platform import HASTY, Platform
from tests.driftline_client.programs import run
from tests.driftline_client.server import Answer, Recorder, running_server

LOG_AND_DIE = """
import os, signal, sys
import driftline_client
from driftline_client import Delivery
flights = driftline_client.model("flights", version="7", delivery=Delivery(folder=sys.argv[1], wait_s=60))
for number in range(int(sys.argv[2])):
    print(flights.log(features={"n": number}, prediction=0), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
DIE_WHILE_SENDING = """
import os, signal, sys
import driftline_client
from driftline_client import Delivery
delivery = Delivery(folder=sys.argv[1], batch_size=50, wait_s=0)
flights = driftline_client.model("flights", version="1", task="binary", delivery=delivery)
for _ in range(300):
    print(flights.log(features={"n": 1}, prediction=0), flush=True)
while flights.counts().sent < 100:
    flights.flush(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""
LIVE_AND_DIE_TOGETHER = """
import os, signal, sys
import driftline_client
from driftline_client import Delivery
delivery = Delivery(folder=sys.argv[1], batch_size=20, wait_s=0.01, exit_s=20)
for dies in [False, True, False]:
    if os.fork():
        continue
    flights = driftline_client.model("flights", version="7", delivery=delivery)
    for number in range(300):
        os.write(1, flights.log(features={"n": number}, prediction=0).encode() + b"\\n")
    if dies:
        flights.flush()
        patient = Delivery(folder=sys.argv[1], wait_s=60)
        flights = driftline_client.model("flights", version="7", delivery=patient)
        for number in range(300):
            os.write(1, flights.log(features={"n": number}, prediction=0).encode() + b"\\n")
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit()
for _ in range(3):
    os.wait()
"""


def open_flights(server: Recorder, folder: Path, **options: Any) -> ModelHandle:
    return driftline_client.model(
        "flights", server.url, "dl_test", "7", delivery=replace(HASTY, folder=folder, **options)
    )


def leave_behind(server: Recorder, folder: Path, count: int) -> list[str]:
    """Log items that the server does not take, and stop."""
    server.answers = [Answer(503, headers={"Retry-After": "60"})]
    with open_flights(server, folder, wait_s=60, exit_s=0) as flights:
        keys = [flights.log(features={"n": number}, prediction=0) for number in range(count)]
    assert flights.counts() == Counts(queued=count)
    server.answers.clear()
    server.requests.clear()
    return keys


def leave_files_behind(server: Recorder, folder: Path, count: int) -> list[str]:
    """Leave so many files with an item each, as processes do that were killed one after the other."""
    (key,) = leave_behind(server, folder, 1)
    pattern = only_file(folder)
    content, prefix = pattern.read_text(), pattern.name.split("-")[0]
    pattern.unlink()
    keys = [f"left {number:04}" for number in range(count)]
    for number, left in enumerate(keys):
        (folder / f"{prefix}-{number:04}.items").write_text(content.replace(key, left))
    return keys


def open_files(folder: Path) -> list[str]:
    """Name the files of a folder that this process holds open."""
    paths = []
    for file in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile, as is that of the listing
            paths.append(os.readlink(f"/proc/self/fd/{file}"))
    return [path for path in paths if path.startswith(f"{folder}/")]


def ids_of(server: Recorder) -> list[str]:
    return [item["id"] for item in server.items("predictions")]


def only_file(folder: Path) -> Path:
    (found,) = folder.glob("*.items")
    return found


class TestFolder:
    def test_is_empty_once_everything_was_answered_for(self, server: Recorder, tmp_path: Path) -> None:
        with open_flights(server, tmp_path / "new" / "folder") as flights:
            for number in range(1_200):
                flights.label(flights.log(features={"n": number}, prediction=0), 1)
            assert flights.flush(20)

            assert list((tmp_path / "new" / "folder").iterdir()) == []

        assert [item["features"]["n"] for item in server.items("predictions")] == list(range(1_200))
        assert len(server.items("labels")) == 1_200
        assert flights.counts() == Counts(sent=2_400)

    def test_is_for_its_owner_only(self, server: Recorder, tmp_path: Path) -> None:
        with open_flights(server, tmp_path / "items", wait_s=60) as flights:
            flights.log(features={}, prediction=0)

            assert (tmp_path / "items").stat().st_mode & 0o777 == 0o700
            assert only_file(tmp_path / "items").stat().st_mode & 0o777 == 0o600

    def test_takes_only_as_many_bytes_as_it_may(self, server: Recorder, tmp_path: Path) -> None:
        server.answers = [Answer(503, headers={"Retry-After": "60"})]
        with open_flights(server, tmp_path, folder_bytes=20_000, exit_s=0) as flights:
            for _ in range(300):
                flights.log(features={"text": "x" * 100}, prediction=0)

            counts = flights.counts()
            assert counts.dropped > 100
            assert counts.queued == 300 - counts.dropped
            assert counts.reasons == {"disk_full": counts.dropped}
            assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 21_000

    def test_takes_no_more_bytes_after_many_files_were_answered_for(
        self, server: Recorder, tmp_path: Path
    ) -> None:
        with open_flights(server, tmp_path, folder_bytes=10_000, exit_s=0) as flights:
            for _ in range(30):
                flights.log(features={}, prediction=0)
                assert flights.flush(20)
            server.answers = [Answer(503, headers={"Retry-After": "60"})]
            for _ in range(150):
                flights.log(features={"text": "x" * 100}, prediction=0)

            assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 11_000

    def test_that_cannot_be_made_is_said_at_once(self, server: Recorder, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        with pytest.raises(DriftlineError, match="cannot be made"):
            open_flights(server, tmp_path / "file")

    def test_keeps_what_a_mended_token_will_let_through(self, server: Recorder, tmp_path: Path) -> None:
        server.answers = [Answer(401, {"detail": "This token was revoked."})] * 2

        with open_flights(server, tmp_path) as flights:
            key = flights.log(features={}, prediction=0)
            assert flights.flush(20)

        assert ids_of(server) == [key] * 3
        assert flights.counts() == Counts(sent=1)

    @pytest.mark.parametrize("status", [403, 500])
    def test_sends_predictions_while_labels_are_refused(
        self, server: Recorder, tmp_path: Path, status: int
    ) -> None:
        server.always = {"labels": Answer(status, {"detail": "This token may not label."})}
        with open_flights(
            server, tmp_path, first_retry_s=3600, longest_retry_s=3600, batch_size=10, exit_s=0
        ) as flights:
            flights.label("first", 1)
            server.wait_for(1)

            keys = [flights.log(features={"n": number}, prediction=0) for number in range(100)]
            server.wait_for_items("predictions", 100)

        assert ids_of(server) == keys
        assert len(server.items("labels")) <= 2  # again as the model is closed

    def test_has_room_for_predictions_however_many_labels_are_refused(
        self, server: Recorder, tmp_path: Path
    ) -> None:
        server.always = {"labels": Answer(403)}
        with open_flights(server, tmp_path, folder_bytes=20_000, exit_s=0) as flights:
            for number in range(500):
                flights.label(f"label {number}", "x" * 50)
            assert flights.counts().reasons["disk_full"] > 100

            key = flights.log(features={}, prediction=0)
            server.wait_for_items("predictions", 1)

        assert ids_of(server) == [key]

    def test_sends_refused_labels_in_order_once_the_token_is_mended(
        self, server: Recorder, tmp_path: Path
    ) -> None:
        server.always = {"labels": Answer(403)}
        with open_flights(server, tmp_path, batch_size=2) as flights:
            for number in range(5):
                flights.label(f"label {number}", 1)
            server.wait_for_items("labels", 6)
            server.always = {}

            assert flights.flush(20)

        taken = [item["id"] for item in server.items("labels")][-5:]
        assert taken == [f"label {number}" for number in range(5)]
        assert flights.counts() == Counts(sent=5)
        assert list(tmp_path.iterdir()) == []

    def test_counts_a_torn_record_once_although_its_batch_is_refused(
        self, server: Recorder, tmp_path: Path
    ) -> None:
        leave_behind(server, tmp_path, 2)
        file = only_file(tmp_path)
        header, told, first, second, _ = file.read_bytes().split(b"\n")
        file.write_bytes(b"\n".join([header, told, first, b"\0" * len(second), b""]))
        server.answers = [Answer(500), Answer(500)]

        with open_flights(server, tmp_path) as flights:
            assert flights.flush(20)

        assert flights.counts() == Counts(sent=1, dropped=1, reasons={"torn_record": 1})

    def test_keeps_apart_what_goes_to_another_server(self, server: Recorder, tmp_path: Path) -> None:
        with running_server() as other:
            leave_behind(other, tmp_path, 3)

        with open_flights(server, tmp_path) as flights:
            key = flights.log(features={}, prediction=0)
            assert flights.flush(20)

        assert ids_of(server) == [key]
        assert only_file(tmp_path)


class TestRestart:
    def test_sends_what_was_left_without_being_told_anything_new(
        self, server: Recorder, tmp_path: Path
    ) -> None:
        left = leave_behind(server, tmp_path, 50)

        with open_flights(server, tmp_path) as flights:
            assert flights.flush(20)

        assert ids_of(server) == left

    def test_loses_nothing_that_was_accepted_before_a_kill(self, server: Recorder, tmp_path: Path) -> None:
        killed = run(LOG_AND_DIE, str(tmp_path), "400", url=server.url, status=-signal.SIGKILL)

        with open_flights(server, tmp_path) as flights:
            assert flights.flush(20)

        accepted = killed.stdout.split()
        assert len(accepted) == 400
        assert Counter(ids_of(server)) == Counter(accepted)
        assert list(tmp_path.iterdir()) == []

    def test_skips_and_counts_a_torn_last_record(self, server: Recorder, tmp_path: Path) -> None:
        left = leave_behind(server, tmp_path, 3)
        with only_file(tmp_path).open("ab") as file:
            file.write(b'{"id":"torn","features":{"n"')

        with open_flights(server, tmp_path) as flights:
            assert flights.flush(20)

        assert ids_of(server) == left
        assert flights.counts() == Counts(sent=3, dropped=1, reasons={"torn_record": 1})

    def test_skips_and_counts_what_a_power_cut_left_as_zeros(self, server: Recorder, tmp_path: Path) -> None:
        left = leave_behind(server, tmp_path, 3)
        file = only_file(tmp_path)
        header, told, first, second, third, _ = file.read_bytes().split(b"\n")
        file.write_bytes(b"\n".join([header, told, first, b"\0" * len(second), third, b""]))

        with open_flights(server, tmp_path) as flights:
            assert flights.flush(20)

        assert ids_of(server) == [left[0], left[2]]
        assert flights.counts() == Counts(sent=2, dropped=1, reasons={"torn_record": 1})

    @pytest.mark.parametrize("content", [b"", b"\0" * 100, b"12\n", b'00000000000000000000\n{"path"\n{}\n'])
    def test_puts_aside_a_file_that_says_nothing(
        self, server: Recorder, tmp_path: Path, content: bytes
    ) -> None:
        leave_behind(server, tmp_path, 1)
        file = only_file(tmp_path)
        file.write_bytes(content)

        with open_flights(server, tmp_path) as flights:
            flights.log(features={}, prediction=0)
            assert flights.flush(20)

        assert flights.counts() == Counts(sent=1, dropped=1, reasons={"torn_record": 1})
        assert [left.suffix for left in tmp_path.iterdir()] == [".damaged"]

    def test_goes_on_behind_what_was_answered_for(self, server: Recorder, tmp_path: Path) -> None:
        with open_flights(server, tmp_path, wait_s=60, exit_s=0) as flights:
            answered = flights.log(features={}, prediction="answered")
            flights.flush(20)
            server.answers = [Answer(503, headers={"Retry-After": "60"})]
            waiting = flights.log(features={}, prediction="waiting")
        server.answers.clear()
        assert ids_of(server)[0] == answered
        server.requests.clear()

        with open_flights(server, tmp_path) as flights:
            assert flights.flush(20)

        assert ids_of(server) == [waiting]

    def test_goes_on_within_a_file_of_which_a_part_was_answered_for(
        self, server: Recorder, tmp_path: Path
    ) -> None:
        server.answers = [Answer(), Answer(503, headers={"Retry-After": "60"})]
        with open_flights(server, tmp_path, wait_s=60, batch_size=20, exit_s=0) as flights:
            keys = [flights.log(features={}, prediction=0) for _ in range(40)]
            server.wait_for(2)
        server.requests.clear()

        with open_flights(server, tmp_path) as flights:
            assert flights.flush(20)

        assert ids_of(server) == keys[20:]

    @pytest.mark.slow
    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux to see which files are open")
    def test_opens_few_of_many_files_at_a_time(self, server: Recorder, tmp_path: Path) -> None:
        left = leave_files_behind(server, tmp_path, 200)
        server.always = {"predictions": Answer(503)}

        with open_flights(server, tmp_path, first_retry_s=0.001, longest_retry_s=0.001) as flights:
            server.wait_for(30)
            held = open_files(tmp_path)
            server.always = {}
            assert flights.flush(20)

        assert 0 < len(held) <= 16
        assert set(ids_of(server)) == set(left)
        assert flights.counts() == Counts(sent=200)
        assert list(tmp_path.iterdir()) == []

    def test_leaves_room_for_new_items(self, server: Recorder, tmp_path: Path) -> None:
        left = leave_files_behind(server, tmp_path, 20)
        server.always = {"predictions": Answer(503)}

        with open_flights(
            server, tmp_path, first_retry_s=0.001, longest_retry_s=0.001, folder_bytes=4_000
        ) as flights:
            server.wait_for(10)
            new = flights.log(features={}, prediction=0)
            server.always = {}
            assert flights.flush(20)

        assert set(ids_of(server)) == {*left, new}
        assert flights.counts() == Counts(sent=21)


class TestDiskThatFails:
    def test_for_a_while_holds_items_up_and_no_longer(
        self,
        server: Recorder,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        failures = [OSError(errno.EIO, "Input/output error")] * 3
        read = os.pread

        def fail_at_first(file: int, length: int, place: int) -> bytes:
            if failures:
                raise failures.pop()
            return read(file, length, place)

        monkeypatch.setattr("driftline_client.sending.disk_queue.os.pread", fail_at_first)
        with open_flights(server, tmp_path) as flights:
            key = flights.log(features={}, prediction=0)
            assert flights.flush(20)

        assert ids_of(server) == [key]
        assert "trying again" in caplog.text

    def test_while_a_file_is_taken_over_leaves_it_to_the_next(
        self, server: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        left = leave_behind(server, tmp_path, 3)

        def fail(*_: int) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr("driftline_client.sending.disk_queue.os.pread", fail)
            open_flights(server, tmp_path).close()
        with open_flights(server, tmp_path) as flights:
            assert flights.flush(20)

        assert ids_of(server) == left


class TestSharedFolder:
    def test_is_sent_once_by_processes_that_live_and_end_beside_each_other(
        self, server: Recorder, tmp_path: Path
    ) -> None:
        accepted = run(LIVE_AND_DIE_TOGETHER, str(tmp_path), url=server.url).stdout.split()

        with open_flights(server, tmp_path) as last:
            assert last.flush(20)

        assert len(accepted) == 1_200
        assert Counter(ids_of(server)) == Counter(accepted)
        assert list(tmp_path.iterdir()) == []

    def test_leaves_a_living_process_its_items(self, server: Recorder, tmp_path: Path) -> None:
        with open_flights(server, tmp_path, wait_s=60) as patient:
            key = patient.log(features={}, prediction=0)
            with open_flights(server, tmp_path) as other:
                assert other.flush(0)
                assert ids_of(server) == []

            assert patient.flush(20)

        assert ids_of(server) == [key]


class TestFork:
    def test_leaves_the_parents_items_to_the_parent(self, server: Recorder, tmp_path: Path) -> None:
        program = (
            "import os, sys, driftline_client\n"
            "from driftline_client import Delivery\n"
            "delivery = Delivery(folder=sys.argv[1], wait_s=60, exit_s=50)\n"
            "flights = driftline_client.model('flights', version='7', delivery=delivery)\n"
            "flights.log(features={}, prediction='before')\n"
            "child = os.fork()\n"
            "flights.log(features={}, prediction='child' if child == 0 else 'parent')\n"
            "sys.exit(0) if child == 0 else os.waitpid(child, 0)\n"
        )

        run(program, str(tmp_path), url=server.url)

        sent = [item["prediction"] for item in server.items("predictions")]
        assert sorted(sent) == ["before", "child", "parent"]
        assert list(tmp_path.iterdir()) == []

    def test_works_in_a_daemon_that_closed_every_file(self, server: Recorder, tmp_path: Path) -> None:
        program = (
            "import os, sys, driftline_client\n"
            "from driftline_client import Delivery\n"
            "delivery = Delivery(folder=sys.argv[1], wait_s=60, exit_s=50)\n"
            "flights = driftline_client.model('flights', version='7', delivery=delivery)\n"
            "flights.log(features={}, prediction='sent')\n"
            "flights.flush(20)\n"
            "flights.log(features={}, prediction='before')\n"
            "os.closerange(3, 100)\n"
            "child = os.fork()\n"
            "if child: os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
            "flights.log(features={}, prediction='daemon')\n"
            "assert flights.flush(20)\n"
        )

        ended = run(program, str(tmp_path), url=server.url)

        assert sorted(item["prediction"] for item in server.items("predictions")) == [
            "before",
            "daemon",
            "sent",
        ]
        assert "Bad file descriptor" not in ended.stderr

    def test_says_in_the_child_that_the_folder_is_gone(self, server: Recorder, tmp_path: Path) -> None:
        program = (
            "import os, pathlib, sys, driftline_client\n"
            "from driftline_client import Delivery\n"
            "folder = pathlib.Path(sys.argv[1])\n"
            "delivery = Delivery(folder=folder, wait_s=60)\n"
            "flights = driftline_client.model('flights', version='7', delivery=delivery)\n"
            "folder.rmdir()\n"
            "folder.touch()\n"
            "child = os.fork()\n"
            "if child: os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
            "flights.log(features={}, prediction=0)\n"
            "assert flights.counts().reasons == {'disk_error': 1}, flights.counts()\n"
            "folder.unlink()\n"
            "flights.log(features={}, prediction=0)\n"
        )

        ended = run(program, str(tmp_path / "items"), url=server.url)

        assert "cannot be written" in ended.stderr
        assert len(server.items("predictions")) == 1

    def test_lets_another_take_over_from_a_parent_that_died_before_its_child(
        self, server: Recorder, tmp_path: Path
    ) -> None:
        program = (
            "import os, signal, sys, driftline_client\n"
            "from driftline_client import Delivery\n"
            "delivery = Delivery(folder=sys.argv[1], wait_s=60, exit_s=50)\n"
            "flights = driftline_client.model('flights', version='7', delivery=delivery)\n"
            "flights.log(features={}, prediction='of the dead')\n"
            "if os.fork(): os.kill(os.getpid(), signal.SIGKILL)\n"
            "print(os.getpid(), flush=True)\n"
            "os.close(1)\n"
            "os.close(2)\n"
            "signal.pause()\n"
        )
        killed = run(program, str(tmp_path), url=server.url, status=-signal.SIGKILL)

        try:
            with open_flights(server, tmp_path) as flights:
                server.wait_for(1)
                assert flights.flush(20)
        finally:
            os.kill(int(killed.stdout), signal.SIGKILL)

        assert [item["prediction"] for item in server.items("predictions")] == ["of the dead"]
        assert flights.counts() == Counts(sent=1)


def test_every_accepted_id_is_in_the_log_once_after_a_kill(platform: Platform, tmp_path: Path) -> None:
    killed = run(
        DIE_WHILE_SENDING, str(tmp_path), url=platform.url, token=platform.token, status=-signal.SIGKILL
    )
    accepted = killed.stdout.split()

    with platform.open("flights", delivery=replace(HASTY, folder=tmp_path)) as flights:
        assert flights.flush(60)

    stored = PredictionRow.objects.values_list("prediction_id", flat=True)
    assert Counter(stored) == Counter(accepted)
