"""Libraries that report to their makers: ONNX Runtime's official wheels do unless they are told not to."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from driftline.base.periods import rfc3339
from tests.flows.installation import test_retraining as retraining
from tests.flows.installation.running import Installation
from tests.ports import free_port
from tests.waiting import wait_until

DATABASE = re.compile(r"onnxruntime\.db|/\.?cache/Microsoft|evidentlyai", re.IGNORECASE)
ENTRIES = {
    "serving": "import inference.runtime.session",
    "the intake's child": "import inference.registry.intake.runs.session",
    "a trainer's child": "import monitors.workflows.trainers.child, monitors.workflows.trainers.convert",
    "a worker": "import driftline.celery, monitors.optimiser.machine",
    "the client's conversion": "from driftline_client.conversion.needs import needed; needed('onnxruntime')",
    "a test or a benchmark": "import tests",
}


def open_files(pid: int | str) -> list[str]:
    found = []
    with suppress(OSError):  # the process has just ended
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                found.append(os.readlink(entry))
    return found


class TestOnnxRuntime:
    """It keeps a database of events, with error messages in it, open in each process that loads it."""

    @pytest.mark.parametrize("entry", ENTRIES)
    def test_keeps_no_database_of_events_in(self, entry: str, tmp_path: Path) -> None:
        code = (
            f"{ENTRIES[entry]}\nimport glob, os, onnxruntime as ort\n"
            "from onnxruntime.datasets import get_example\n"
            "ort.InferenceSession(get_example('sigmoid.onnx'), providers=['CPUExecutionProvider'])\n"
            "for path in glob.glob('/proc/self/fd/*'):\n"
            "    print(os.path.realpath(path))\n"
        )
        bare = {
            name: value
            for name, value in os.environ.items()
            if "TELEMETRY" not in name and "TRACK" not in name
        }
        home = tmp_path / "home"
        home.mkdir()

        printed = subprocess.run(
            [sys.executable, "-c", code],
            env=bare | {"HOME": str(home), "DRIFTLINE_HOME": str(tmp_path / "driftline")},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

        assert not DATABASE.search(printed)
        assert list(home.rglob("*")) == []

    def test_keeps_no_database_of_events_in_this_process(self) -> None:
        assert not [path for path in open_files("self") if DATABASE.search(path)]
        assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


# -- a whole installation ----------------------------------------------------------------------------------------------
OF_THE_C_LIBRARY = {
    "/var/run/nscd/socket",
    "/run/uuidd/request",
}  # names of users, and identifiers; on this machine
TRACED_CALLS = "connect,sendto,sendmsg,sendmmsg"
INTERNET = re.compile(
    r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)")'
)
FILE_SOCKET = re.compile(r'sun_path=@?"([^"]*)"')


@dataclass(frozen=True)
class Destination:
    """Where a process wanted to send something: an address and port, or the path of a socket."""

    address: str
    port: int = 0

    @property
    def is_path(self) -> bool:
        return self.address.startswith("/")


def traced(trace: Path) -> list[str]:
    """Run what follows with each of its attempts to reach somebody written to `trace`.

    With -D the tracer is nobody's parent, so that the installation's processes stay each other's as ever.
    """
    return [
        "strace",
        "-D",
        "-f",
        "-qq",
        "--seccomp-bpf",
        "-s",
        "256",
        "-e",
        f"trace={TRACED_CALLS}",
        "-o",
        str(trace),
    ]


def destinations(lines: Iterable[str]) -> set[Destination]:
    found = set()
    for line in lines:
        if path := FILE_SOCKET.search(line):
            found.add(Destination(path[1]))
        for port, four, six in INTERNET.findall(line):
            found.add(Destination((four or six).removeprefix("::ffff:"), int(port)))
    return found


def test_the_recorder_sees_a_look_up_and_a_connection(tmp_path: Path) -> None:
    """Without this a trace that records nothing would pass. A connected UDP socket sends no packet."""
    code = (
        "import socket\n"
        "for place in (('192.0.2.1', 443), ('127.0.0.1', 53)):\n"
        "    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(place)\n"
    )
    trace = tmp_path / "trace"

    subprocess.run([*traced(trace), sys.executable, "-c", code], check=True)

    expected = {Destination("192.0.2.1", 443), Destination("127.0.0.1", 53)}
    wait_until(lambda: expected <= destinations(trace.read_text().splitlines()))


@pytest.mark.e2e
@pytest.mark.installation
class TestInstallation:
    """An installation that serves, logs, measures, trains and reports talks to itself alone."""

    @pytest.fixture
    def trace(self, tmp_path: Path) -> Path:
        return tmp_path / "trace"

    @pytest.fixture
    def installation(self, tmp_path: Path, trace: Path) -> Iterator[Installation]:
        user_home = tmp_path / "user"
        user_home.mkdir()
        installation = Installation(
            tmp_path / "installation" / "home", free_port(), under=traced(trace), start_seconds=600
        )
        installation.home.parent.mkdir()
        for name in (
            "ORT_DISABLE_TELEMETRY",
            "DO_NOT_TRACK",
            "EVIDENTLY_DISABLE_TELEMETRY",
            "ITERATIVE_DO_NOT_TRACK",
        ):
            installation.environment.pop(name, None)  # as a shell has them
        installation.environment |= {"HOME": str(user_home), "DRIFTLINE_OUTBOUND_ALLOW": ""}
        try:
            installation.start()
            yield installation
        finally:
            installation.end()

    def test_no_process_keeps_such_a_database_and_none_reaches_beyond_this_machine(
        self, installation: Installation, trace: Path, tmp_path: Path
    ) -> None:
        held, umasks = set[str](), set[str]()
        for _ in stages_of_work(installation):
            for process in installation.processes():
                held |= set(open_files(process.pid))
                umasks |= {umask_of(process.pid)}
        installation.end()

        reached = destinations(trace.read_text().splitlines())
        ports = {installation.port, int(installation.environment["DRIFTLINE_GRPC_PORT"])}
        sockets = {str(installation.paths.postgres_socket), str(installation.paths.valkey_socket)}
        assert sockets <= {place.address for place in reached}  # the trace reached every part
        beyond = {
            place
            for place in reached
            if not (
                place.address in sockets | OF_THE_C_LIBRARY if place.is_path else is_configured(place, ports)
            )
        }
        assert beyond == set()
        assert [path for path in held if DATABASE.search(path)] == []
        assert [str(path) for path in (tmp_path / "user").rglob("*") if DATABASE.search(str(path))] == []
        assert umasks - {""} == {"0077"}


def stages_of_work(installation: Installation) -> Iterator[str]:
    """Have every kind of process work, and stop while a trainer runs, and when Evidently's report is made."""
    with closing(installation.api()) as api:
        retraining.prepare(installation, api)
        for number in range(3):
            retraining.send_day(api, number)
        wait_until(lambda: retraining.trainers(installation), seconds=180, what="the training")
        yield "a trainer runs"
        start = retraining.FIRST_DAY
        window = {"from": rfc3339(start), "to": rfc3339(start + 2 * retraining.DAY)}
        report = api.post(f"{retraining.PATH}/reports", window)
        path = f"{retraining.PATH}/reports/{report['id']}"
        state = wait_until(lambda: ended_state(api.get(path)["state"]), seconds=180, what="the report")
        assert state == "ready", api.get(path)
        yield "a report is made"


def ended_state(state: str) -> str | None:
    return state if state in ("ready", "failed") else None


def umask_of(pid: int) -> str:
    with suppress(OSError):  # it has just ended
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return line.split()[1]
    return ""


def is_configured(place: Destination, ports: set[int]) -> bool:
    return place.address in ("127.0.0.1", "::1") and place.port in ports
