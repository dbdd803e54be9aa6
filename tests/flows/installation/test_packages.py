"""What is installed by each command is enough for what it is for."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from driftline.demo.wire import ConnectionLost, HttpConnection
from driftline.operations.services.paths import POSTGRES_PORT
from tests.flows.installation.clients import infer_body
from tests.flows.installation.conftest import Tell
from tests.flows.installation.running import Installation, make_model
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

CHECKOUT = Path(__file__).resolve().parents[3]
MODEL = "credit"
MAX_SERVING_PACKAGES = 40
INSTALLERS = {"pip", "setuptools", "uv"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The code of this checkout, with nothing installed."""
    copy = tmp_path / "checkout"
    copy.mkdir()
    for name in (".ci", "inference", "monitors", "platform"):
        shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (
        *CHECKOUT.glob("requirements*.txt"),
        *map(CHECKOUT.joinpath, ("pyproject.toml", "manage.py")),
    ):
        shutil.copy(path, copy)
    return copy


def setup(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([checkout / ".ci/setup", *arguments], capture_output=True, text=True, check=False)


def installed(checkout: Path) -> set[str]:
    [packages] = (checkout / ".venv/lib").glob("python3*/site-packages")
    names = {path.name.split("-")[0].lower() for path in packages.glob("*.dist-info")}
    return names - INSTALLERS


def test_an_extra_is_added_by_a_command_and_stays(checkout: Path) -> None:
    assert setup(checkout, "extra", "mqtt").returncode == 0
    assert "paho_mqtt" in installed(checkout)

    with (checkout / "pyproject.toml").open("a") as project:
        project.write("# changed\n")
    uninstall = [checkout / ".venv/bin/uv", "pip", "uninstall", "--python", checkout / ".venv", "paho-mqtt"]
    subprocess.run(uninstall, check=True, capture_output=True)
    assert "of the extras mqtt" in setup(checkout, "run").stdout

    check = subprocess.run([checkout / ".venv/bin/python", "-c", "import paho.mqtt.client"], check=False)
    assert check.returncode == 0
    assert setup(checkout, "run").stdout == ""  # nothing changed since


def test_an_extra_that_does_not_exist_is_refused_with_those_that_do(checkout: Path) -> None:
    for wrong in ([], ["cafka"], ["kafka saml"], ["kafka", ".."]):
        refused = setup(checkout, "extra", *wrong)

        assert refused.returncode == 2
        assert "Add one or more of: apprise kafka mqtt nats otlp pdf saml sql." in refused.stderr
    assert not (checkout / ".venv").exists()


class TestServingHost:
    @pytest.fixture
    def installation(self, tmp_path: Path) -> Iterator[Installation]:
        main = Installation(tmp_path / "main", free_port())
        try:
            main.start()
            yield main
        finally:
            main.end()

    def test_answers_and_stores_rows_with_its_own_packages_alone(
        self, checkout: Path, installation: Installation, tmp_path: Path, tell: Tell
    ) -> None:
        assert setup(checkout, "serving").returncode == 0
        packages = installed(checkout)
        assert len(packages) <= MAX_SERVING_PACKAGES, sorted(packages)
        tell(f"a serving host has {len(packages)} packages")
        model_id = make_model(installation, MODEL)
        added = installation.manage("serving_host", "add", "serving-1")
        address = f"postgresql://driftline@/driftline?host={installation.paths.sockets}&port={POSTGRES_PORT}"
        port, python = free_port(), checkout / ".venv/bin/python"
        environment = {
            "PATH": "/usr/bin:/bin",
            "DRIFTLINE_HOME": str(tmp_path / "host"),
            "DRIFTLINE_DATABASE_URL": address,
            "DRIFTLINE_HOST_TOKEN": added.stdout.split()[-1],
        }

        def manage(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [python, checkout / "manage.py", *arguments]
            return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

        join = ["serve", "--only", "inference", "--join", f"http://127.0.0.1:{installation.port}"]
        listen = ["--host", "127.0.0.1", "--port", str(port), "--grpc-port", str(free_port())]
        with (tmp_path / "host.log").open("wb") as log:
            host = subprocess.Popen(
                [python, checkout / "manage.py", *join, *listen], env=environment, stdout=log, stderr=log
            )
        try:
            prediction_id = str(uuid4())
            wait_until(
                lambda: host.poll() is not None or ask(port, installation.token, prediction_id),
                seconds=90,
                what="an answer of the host",
            )
            stored = installation.wait_until_stored(model_id, {prediction_id}, seconds=60)
        finally:
            host.terminate()
            host.wait(60)
            print((tmp_path / "host.log").read_text())

        assert stored == {prediction_id: 1}
        assert "Traceback" not in (tmp_path / "host.log").read_text()
        refused = manage("doctor")
        assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)
        assert "only the packages of a serving host are installed" in refused.stderr
        assert "add --only inference" in manage("serve").stderr


def ask(port: int, token: str, prediction_id: str) -> bool:
    """Ask the host once; whether it answered."""
    body = infer_body([0.1, 0.2, 0.3, 0.4], driftline_id=prediction_id)
    head = (
        f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nHost: host\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    try:
        with closing(HttpConnection("127.0.0.1", port)) as connection:
            connection.write(head.encode() + body)
            return connection.read_answer().status == 200
    except (ConnectionLost, OSError):
        return False
