"""Two serving hosts without a folder in common with the main server: a promotion reaches both, each row counts once."""

import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from driftline.base.ids import new_id
from driftline.demo.wire import ConnectionLost, HttpConnection
from driftline.operations.services.paths import POSTGRES_PORT
from tests.certificates import make_certificate
from tests.flows.installation.clients import PAUSE_S, infer_body
from tests.flows.installation.conftest import Tell
from tests.flows.installation.machines import MAIN, Door, Machine, machines
from tests.flows.installation.running import FEATURES, MANAGE, Installation, make_model
from tests.inference.onnx_models import constant_classifier_by_feature
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

MODEL = "credit"
PORT = 8001


@dataclass
class Host:
    """A serving host on a machine of its own, and what clients there were answered."""

    machine: Machine
    home: Path
    environment: dict[str, str]
    join: str
    process: subprocess.Popen[bytes] | None = None
    answered: dict[str, str] = field(default_factory=dict)  # prediction ids and the versions that answered
    failures: Counter[str] = field(default_factory=Counter)

    def start(self) -> None:
        command = [sys.executable, str(MANAGE), "serve", "--only", "inference", "--join", self.join]
        listen = ["--host", "127.0.0.1", "--port", str(PORT), "--grpc-port", "0"]
        with (self.home.parent / f"{self.home.name}.log").open("ab") as log:
            self.process = self.machine.start([*command, *listen], self.environment, log)

    def kill(self) -> None:
        """End it as a power cut would: every process at once."""
        assert self.process is not None
        here = Installation(self.home, PORT)
        here.send(signal.SIGKILL, [found.pid for found in here.processes()])
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(120)

    @contextmanager
    def clients(self, token: str) -> Iterator[None]:
        """Ask this host from its own machine, one request after the other, until the block ends."""
        stop = threading.Event()
        thread = threading.Thread(target=self._ask, args=(token, stop))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _ask(self, token: str, stop: threading.Event) -> None:
        self.machine.enter()
        with closing(HttpConnection("127.0.0.1", PORT)) as connection:
            self._ask_on(connection, token, stop)

    def _ask_on(self, connection: HttpConnection, token: str, stop: threading.Event) -> None:
        while not stop.wait(PAUSE_S):
            prediction_id = str(new_id())
            body = infer_body([0.1, 0.2, 0.3, 0.4], driftline_id=prediction_id)
            head = (
                f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nHost: host\r\nAuthorization: Bearer {token}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            try:
                connection.write(head.encode() + body)
                answer = connection.read_answer()
            except ConnectionLost:
                self._fail("lost")
                continue
            if answer.status == 200:
                self.answered[prediction_id] = answer.headers["driftline-version"]
            else:
                self._fail(str(answer.status))

    def _fail(self, what: str) -> None:
        if self.answered:  # before that it starts
            self.failures[what] += 1

    @property
    def newest_version(self) -> str | None:
        return list(self.answered.values())[-1] if self.answered else None


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """The main server, which expects to be asked under the address that other machines have of it."""
    main = Installation(tmp_path / "main", free_port())
    main.environment["DRIFTLINE_ALLOWED_HOSTS"] = f"127.0.0.1,{MAIN}"
    try:
        main.start()
        yield main
    finally:
        main.end()


@pytest.fixture
def hosts(installation: Installation, tmp_path: Path) -> Iterator[list[Host]]:
    """Two machines that reach the main server through a proxy with TLS, and its database."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(machines(2))
        except OSError as error:
            pytest.skip(f"this machine makes no network namespaces: {error}")
        certificate = make_certificate(tmp_path, MAIN)
        web = stack.enter_context(
            Door(lambda: socket.create_connection(("127.0.0.1", installation.port)), certificate)
        )
        database = stack.enter_context(Door(lambda: _database_of(installation)))
        made = []
        for number, machine in enumerate(found, start=1):
            host = _host(installation, machine, f"serving-{number}", tmp_path, database.port)
            host.environment["DRIFTLINE_HOST_CA"] = str(certificate[0])
            host.join = f"https://{MAIN}:{web.port}"
            stack.callback(host.stop)
            made.append(host)
        yield made


def _host(installation: Installation, machine: Machine, name: str, folder: Path, database_port: int) -> Host:
    added = installation.manage("serving_host", "add", name)
    assert added.returncode == 0, added.stderr
    environment = installation.environment | {
        "DRIFTLINE_HOME": str(folder / name),
        "DRIFTLINE_DATABASE_URL": f"postgresql://driftline@{MAIN}:{database_port}/driftline",
        "DRIFTLINE_HOST_TOKEN": added.stdout.split()[-1],
    }
    return Host(machine, folder / name, environment, join="")


def _database_of(installation: Installation) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"{installation.paths.sockets}/.s.PGSQL.{POSTGRES_PORT}")
    return connection


def test_a_promotion_reaches_both_hosts_and_each_row_is_logged_once_though_one_is_killed(
    installation: Installation, hosts: list[Host], tell: Tell
) -> None:
    model_id = make_model(installation, MODEL)
    first, second = hosts
    for host in hosts:
        host.start()
    with first.clients(installation.token), second.clients(installation.token):
        wait_until(lambda: all(host.newest_version == "1" for host in hosts), what="answers of both hosts")
        wait_until(lambda: installation.manage("serving_host", "list").stdout.count("serves plan") == 2)
        promoted = _promote_second_version(installation)
        assert {process["host"] for process in promoted["reported"]} == {None, "serving-1", "serving-2"}
        assert promoted["missing"] == []
        seen = {host.machine: len(host.answered) for host in hosts}
        wait_until(lambda: all(len(host.answered) > seen[host.machine] + 20 for host in hosts))
        assert [host.newest_version for host in hosts] == ["2", "2"]
        first.kill()
        so_far = len(second.answered)
        wait_until(lambda: len(second.answered) > so_far + 200, what="answers of the host that lives")
    assert not second.failures
    first.start()  # its home holds what was not drained
    ids = first.answered.keys() | second.answered.keys()
    stored = installation.wait_until_stored(model_id, set(ids), seconds=90)
    assert ids <= stored.keys()
    assert set(stored.values()) == {1}
    tell(f"{len(first.answered):,} and {len(second.answered):,} answers of two hosts, each logged once")


def _promote_second_version(installation: Installation) -> dict[str, list[dict[str, str | None]]]:
    metadata = {
        "features": [{"name": name, "type": "float"} for name in FEATURES],
        "outputs": {"prediction": "label", "probabilities": "probabilities"},
        "classes": ["0", "1"],
        "positive_class": "1",
    }
    path = f"/api/v1/models/{MODEL}"
    with closing(installation.api()) as api:
        challenger = constant_classifier_by_feature(0.3, FEATURES)
        api.upload(f"{path}/versions", challenger, metadata=msgspec.json.encode(metadata))
        generation = api.get(f"{path}/deployment")["generation"]
        promoted: dict[str, list[dict[str, str | None]]] = api.post(
            f"{path}/promote", {"version": "2"}, {"If-Match": f'"{generation}"'}
        )
    return promoted
