"""What the model of one project does to another's: with `isolation: process` nothing, whatever it does."""

import os
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from inference.runtime.isolated.limits import IsolationLimits
from inference.serving.crashes import read_crashes
from inference.serving.options import EngineOptions
from inference.serving.plan import PROCESS, PlanModel
from tests.inference.onnx_models import (
    quadratic_model,
    store,
    summing_model,
    summing_signature,
    swelling_signature,
    wordy_model,
)
from tests.inference.serving.running import (
    Response,
    Server,
    publish,
    rows_body,
    running_server,
    token,
)
from tests.waiting import is_running, wait_until

ENDLESS = 400_000  # boxes: minutes
FINE = rows_body([1, 2, 3])
OPTIONS = EngineOptions(isolation=IsolationLimits(run_seconds=1.5, memory_bytes=300 << 20))


def deploy(home: Path, isolation: str = PROCESS) -> None:
    """Publish a neighbour's model, and beside it three of another project, each with an attack of its own."""
    sums = store(home, summing_model(3), summing_signature(3), id=1, version="1")
    models = [PlanModel(1, 1, "fine", 1, "1", [], [sums])]
    attacks = {"endless": quadratic_model(), "crashing": quadratic_model(), "wordy": wordy_model()}
    for id, (name, model) in enumerate(attacks.items(), 2):
        version = store(home, model, swelling_signature(), id=id, version="1")
        version = msgspec.structs.replace(version, isolation=isolation)
        models.append(PlanModel(id, 2, name, 1, "1", [], [version]))
    publish(home, models, [token("dl_infer"), token("dl_theirs", project_id=2)])


def size_body(size: int) -> bytes:
    tensor = {"name": "size", "shape": [1, 1], "datatype": "INT64", "data": [size]}
    return msgspec.json.encode({"inputs": [tensor]})


def ask_risky(server: Server, model: str, size: int) -> Response:
    return server.ask(f"/v2/models/{model}/infer", size_body(size), token="dl_theirs")


def ask_fine(server: Server) -> Response:
    return server.ask("/v2/models/fine/infer", FINE)


def children_of(server: Server) -> dict[int, str]:
    """Name the processes below the server's, by id."""
    parents: dict[int, tuple[int, str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        parents[int(path.parent.name)] = (int(rest.split()[1]), name)
    own = {server.process.pid}
    while more := {pid for pid, (parent, _) in parents.items() if parent in own} - own:
        own |= more
    return {pid: parents[pid][1] for pid in own if pid in parents}


def model_processes(server: Server) -> set[int]:
    return {pid for pid, name in children_of(server).items() if name == "driftline-model"}


class Attack:
    """A request that is under way in a thread."""

    def __init__(self, server: Server, model: str, size: int) -> None:
        self.answers: list[Response] = []
        self._thread = threading.Thread(target=lambda: self.answers.append(ask_risky(server, model, size)))
        self._thread.start()

    def wait(self) -> Response:
        self._thread.join()
        return self.answers[0]


def is_quarantined(server: Server, model: str) -> bool:
    return "quarantined" in ask_risky(server, model, 1).json.get("error", "")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    deploy(home)
    with running_server(home, options=OPTIONS) as server:
        yield server


class TestModelThatNeverEnds:
    def test_leaves_its_neighbour_alone_and_ends_in_quarantine(self, server: Server) -> None:
        """One kernel runs for minutes; in the serving process it would hold every project's requests."""
        for _ in range(2):
            wait_until(lambda: ask_risky(server, "endless", 1).status == 200)
            attack = Attack(server, "endless", ENDLESS)
            neighbours = [ask_fine(server) for _ in range(5)]
            was_under_way = not attack.answers
            refused = attack.wait()

            assert {answer.status for answer in neighbours} == {200}
            assert was_under_way
            assert refused.status == 503
            assert int(refused.headers["retry-after"]) >= 1

        wait_until(lambda: is_quarantined(server, "endless"))
        assert ask_fine(server).status == 200
        assert read_crashes(server.home)[2].reason == "did not end a run"


class TestModelThatCrashes:
    def test_takes_its_own_process_alone_and_ends_in_quarantine(self, server: Server) -> None:
        """Killed while it runs, as by a native crash or by the kernel for its memory."""
        worker = server.status_files()[0]["pid"]
        for _ in range(2):
            wait_until(lambda: ask_risky(server, "crashing", 1).status == 200)
            idle = {pid: _ticks(pid) for pid in model_processes(server)}
            attack = Attack(server, "crashing", ENDLESS)
            pid = wait_until(partial(_find_at_work, idle))

            os.kill(pid, signal.SIGKILL)

            assert attack.wait().status == 503
            assert ask_fine(server).status == 200

        wait_until(lambda: is_quarantined(server, "crashing"))
        assert read_crashes(server.home)[3].reason == "ended its process (SIGKILL)"
        assert [status["pid"] for status in server.status_files()] == [worker]


def _find_at_work(idle: dict[int, int]) -> int | None:
    """Find the process that has used a tenth of a second of processor time since it was idle."""
    return next((pid for pid, ticks in idle.items() if _ticks(pid) > ticks + _TENTH), None)


_TENTH = os.sysconf("SC_CLK_TCK") // 10  # ticks of a tenth of a second


def _ticks(pid: int) -> int:
    """Count the ticks of processor time that a process has used."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


class TestModelWhoseTextsHaveNoEnd:
    def test_is_refused_within_the_memory_of_its_process(self, server: Server) -> None:
        """Texts lie outside the arena of ONNX Runtime; two gigabytes of them would take the serving process along."""
        answer = ask_risky(server, "wordy", 2_000_000)

        assert answer.status in (400, 503)  # as ONNX Runtime finds the memory to say so, or ends the process
        assert (
            "more memory than the process of a model may have" in answer.json["error"] or answer.status == 503
        )
        wait_until(lambda: ask_risky(server, "wordy", 1).status == 200)
        assert ask_fine(server).status == 200


class TestServer:
    def test_leaves_no_process_behind_however_it_ends(self, tmp_path: Path) -> None:
        deploy(tmp_path)
        with running_server(tmp_path, options=OPTIONS) as server:
            first = model_processes(server)
            [killed] = [status["pid"] for status in server.status_files()]

            os.kill(killed, signal.SIGKILL)

            wait_until(lambda: not any(is_running(pid) for pid in first))
            wait_until(lambda: [s["pid"] for s in server.status_files() if s["ready"]] not in ([], [killed]))
            second = children_of(server)

        assert len(first) == 3
        assert "driftline-model" in second.values()
        wait_until(lambda: not any(is_running(pid) for pid in second))
