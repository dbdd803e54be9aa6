"""A model that takes the process along: what is lost, who is blamed, and how often it may do it again."""

import contextlib
import json
import signal
import threading
from pathlib import Path

import onnx
import pytest

from inference.runtime import machine_memory
from inference.serving.crashes import (
    MAX_CRASHES,
    QUARANTINE_FILE,
    STALLED,
    STARVED,
    RunMarks,
    note_death,
    quarantined,
    read_crashes,
)
from inference.serving.plan import PlanModel, PlanVersion
from tests.inference.onnx_models import store, summing_model, summing_signature
from tests.inference.serving.fatal import FATAL_FILE, FATAL_INPUT
from tests.inference.serving.running import Server, publish, rows_body, running_server, token
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

APP = "tests.inference.serving.crashing_app:app"
GOOD, FATAL = rows_body([1, 2, 3]), rows_body([FATAL_INPUT, 0, 0])


def sums(home: Path, *, id: int, version: str = "1", remark: str = "") -> PlanVersion:
    model = onnx.load_from_string(summing_model(3))
    model.doc_string = remark or str(id)
    return store(home, model.SerializeToString(), summing_signature(3), id=id, version=version)


def deploy(home: Path, crashing: PlanVersion, shadow: PlanVersion | None = None, generation: int = 1) -> None:
    """Publish a model that works beside one whose champion may crash."""
    names = [shadow.version] if shadow else []
    models = [
        PlanModel(1, 1, "fine", generation, "1", [], [sums(home, id=1)]),
        PlanModel(
            2, 1, "risky", generation, crashing.version, names, [crashing, *([shadow] if shadow else [])]
        ),
    ]
    publish(home, models, [token("dl_infer")], generation)


def crash_once(server: Server) -> None:
    """Ask what crashes the process, and wait for the next one."""
    pid = server.status_files()[0]["pid"]
    with contextlib.suppress(OSError):
        server.ask("/v2/models/risky/infer", FATAL)
    wait_until(lambda: [s["pid"] for s in server.status_files() if s["ready"]] not in ([], [pid]))


class TestBlame:
    """Whom a death is blamed on, by what the process left."""

    def die(self, home: Path, code: int, *, loop_runs: int = 0, thread_runs: int = 0, **how: bool) -> None:
        """Leave the marks of a process whose loop and a thread ran versions, and note its death."""
        marks = RunMarks()
        marks.beat_once()
        marks.begin(loop_runs)
        beside = threading.Thread(target=marks.begin, args=(thread_runs,))
        beside.start()
        beside.join()
        (home / "serving").mkdir(exist_ok=True)
        (home / "serving" / "1.marks").write_bytes(bytes(marks._view))
        note_death(home, 1, code, 1e9, **how)

    def test_of_a_stall_falls_on_what_the_event_loop_ran(self, tmp_path: Path) -> None:
        self.die(tmp_path, STALLED, loop_runs=1, thread_runs=2)

        assert list(read_crashes(tmp_path)) == [1]

    def test_of_a_stall_that_the_parent_ended_does_so_too(self, tmp_path: Path) -> None:
        self.die(tmp_path, -signal.SIGKILL, loop_runs=1, thread_runs=2, stalled=True)

        assert read_crashes(tmp_path)[1].reason == "held up a serving process for more than 2 s"

    def test_of_a_stall_in_which_no_model_ran_falls_on_nobody(self, tmp_path: Path) -> None:
        self.die(tmp_path, STALLED, thread_runs=2)

        assert read_crashes(tmp_path) == {}

    def test_of_a_kill_for_want_of_memory_falls_on_the_one_that_ran(self, tmp_path: Path) -> None:
        self.die(tmp_path, -signal.SIGKILL, thread_runs=2, starved=True)
        self.die(tmp_path, STARVED, thread_runs=2)

        assert read_crashes(tmp_path)[2].quarantined

    def test_of_a_kill_by_somebody_falls_on_nobody(self, tmp_path: Path) -> None:
        self.die(tmp_path, -signal.SIGKILL, thread_runs=2)

        assert read_crashes(tmp_path) == {}

    def test_of_a_file_that_an_older_release_wrote_is_still_read(self, tmp_path: Path) -> None:
        old = {"7": {"at": [1.0], "signal": "SIGSEGV", "quarantined": True}}
        (tmp_path / QUARANTINE_FILE).write_text(json.dumps(old))

        assert list(quarantined(tmp_path)) == [7]


class TestMemoryKills:
    def test_are_noticed_once_each(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        counts = tmp_path / "vmstat"
        counts.write_text("nr_free_pages 5\noom_kill 3\n")
        monkeypatch.setattr(machine_memory, "_COUNTS", (counts, tmp_path / "missing"))
        kills = machine_memory.MemoryKills()
        counts.write_text("nr_free_pages 5\noom_kill 4\n")

        assert (kills.have_grown(), kills.have_grown()) == (True, False)


class TestCrashOfAModel:
    def test_loses_no_acknowledged_row_and_ends_in_quarantine(self, tmp_path: Path) -> None:
        deploy(tmp_path, sums(tmp_path, id=2))
        with running_server(tmp_path, app=APP) as server:
            acknowledged = [server.ask("/v2/models/risky/infer", GOOD) for _ in range(20)]
            for _ in range(MAX_CRASHES):
                crash_once(server)
            fine = server.ask("/v2/models/fine/infer", FATAL.replace(b"-13", b"-12"))
            risky = server.ask("/v2/models/risky/infer", GOOD)
            ready = server.ask("/v2/models/risky/ready", method="GET")
            logged = {row for batch in server.spooled() for row in batch.ids}

        assert fine.status == 200
        assert risky.status == 503
        assert "SIGSEGV" in risky.json["error"]
        assert (ready.status, ready.json["ready"]) == (503, False)
        assert "quarantined" in ready.json["reason"]
        assert {answer.headers["driftline-prediction-id"] for answer in acknowledged} <= logged
        assert {version: len(crashes.at) for version, crashes in read_crashes(tmp_path).items()} == {
            2: MAX_CRASHES
        }

    def test_while_it_is_loaded_keeps_no_other_from_being_served(self, tmp_path: Path) -> None:
        deploy(tmp_path, sums(tmp_path, id=2, remark=FATAL_FILE.decode()))
        with running_server(tmp_path, app=APP) as server:
            assert server.ask("/v2/models/fine/infer", GOOD).status == 200
            assert server.ask("/v2/models/risky/infer", GOOD).status == 503

        assert read_crashes(tmp_path)[2].quarantined

    def test_as_a_shadow_is_not_blamed_on_the_champion(self, tmp_path: Path) -> None:
        champion = sums(tmp_path, id=2)
        deploy(tmp_path, champion, sums(tmp_path, id=3, version="2", remark=FATAL_FILE.decode()))
        with running_server(tmp_path, app=APP) as server:
            answer = server.ask("/v2/models/risky/infer", GOOD)

        assert (answer.status, answer.headers["driftline-version"]) == (200, "1")
        assert {version for version, crashes in read_crashes(tmp_path).items() if crashes.quarantined} == {3}

    def test_leaves_no_files_of_the_dead_behind(self, tmp_path: Path) -> None:
        deploy(tmp_path, sums(tmp_path, id=2))
        with running_server(tmp_path, app=APP) as server:
            crash_once(server)
            server.stop()

        assert not list((tmp_path / "serving").glob("[0-9]*"))
