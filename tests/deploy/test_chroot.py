"""The image's own steps, run in a chroot, and every role of the chart in it: `make e2e-image`, as root on Debian.

What it does not show is in docs/guides/deploy.md.
"""

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import requests
from django.conf import settings

from driftline.base.ids import new_id
from driftline.demo.api_client import Api
from driftline.operations.services.paths import POSTGRES_PORT, home_paths
from tests.certificates import make_certificate
from tests.deploy.chart import SMALL, of_kind, pods, render
from tests.deploy.chroot_image import Stage, build_image, size_mb
from tests.deploy.chroot_pods import Cluster, Container, all_ended, health_command, words_of
from tests.deploy.ingress import Ingress
from tests.embedded import start_services
from tests.flows.installation.clients import infer_body
from tests.flows.installation.machines import MAIN, Door, Machine, machines
from tests.flows.installation.running import make_model
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.image,
    pytest.mark.e2e,
    pytest.mark.skipif(
        shutil.which("mmdebstrap") is None, reason="needs Debian's package mmdebstrap, and root"
    ),
]

HOST = "driftline-inference-0"
VALUES = SMALL | {
    "host": MAIN,
    "filesSecret": "files",
    "settings": {"DRIFTLINE_HOST_CA": "/etc/driftline/ca.pem"},
    "inference": {"replicas": 1, "tokensSecret": "host-tokens"},
    "serviceMonitor": {"enabled": True, "tokenSecret": "scrape-token"},
}
START_SECONDS = 180.0


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The last stage of the image."""
    work = tmp_path_factory.mktemp("image")
    yield build_image(work)
    shutil.rmtree(work)


@pytest.fixture
def database() -> Iterator[str]:
    """The name of an empty database of the tests' own server."""
    start_services()
    name = f"image_{new_id().replace('-', '')}"
    server = settings.DATABASES["default"]
    with closing(psycopg2.connect(host=server["HOST"], user=server["USER"], dbname="postgres")) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}")
        yield name
        connection.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")


def connect_to(path: Path) -> Callable[[], socket.socket]:
    """Return what connects to a socket of this machine."""

    def connect() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        return connection

    return connect


class Installed:
    """The release in the chroot: its manifests, and what was started of it."""

    def __init__(self, cluster: Cluster, main: Machine, ingress_port: int) -> None:
        self.cluster, self.main, self._ingress_port = cluster, main, ingress_port
        self.manifests = render(VALUES)
        self.pods = pods(self.manifests)
        self.started: list[Container] = []

    def start(self, role: str, machine: Machine, name: str = "") -> Container:
        """Start the container of a role."""
        pod = self.pods[role]
        return self._start(machine, name or f"driftline-{role}", pod, pod["containers"][0])

    def bootstrap(self) -> Container:
        """Start what the pod of `web` runs first."""
        pod = self.pods["web"]
        return self._start(self.main, "driftline-web", pod, pod["initContainers"][0])

    def run(self, role: str, words: list[str], name: str = "") -> str:
        """Run a command as in the container of a role, and return what it printed."""
        pod = self.pods[role]
        container = pod["containers"][0] | {"name": f"command-{len(self.started)}"}
        ran = self.cluster.start(self.main, name or f"driftline-{role}", pod, container, words)
        self.started.append(ran)
        assert ran.wait() == 0, ran.log.read_text()
        return ran.log.read_text()

    def wait_for_probes(self, role: str, machine: Machine) -> None:
        """Wait until every probe over HTTP of a role's container is answered."""
        container = self.pods[role]["containers"][0]
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            path = container[name]["httpGet"]["path"]
            wait_until(
                lambda path=path: status_of(f"http://{machine.address}:8000{path}") == 200,  # type: ignore[misc]
                seconds=START_SECONDS,
                what=f"{name} of {role}",
            )

    @property
    def credentials(self) -> dict[str, str]:
        home = self.cluster.folder / "volumes" / "driftline-home" / "home"
        found: dict[str, str] = json.loads((home / "credentials").read_text())
        return found

    def api(self) -> Api:
        """Return a client that asks through the proxy."""
        return Api("127.0.0.1", self._ingress_port, self.credentials["token"])

    def _start(
        self, machine: Machine, name: str, pod: dict[str, Any], container: dict[str, Any]
    ) -> Container:
        words = words_of(container, self.cluster.image)
        self.started.append(self.cluster.start(machine, name, pod, container, words))
        return self.started[-1]


def status_of(url: str, **headers: str) -> int | None:
    try:
        return requests.get(url, headers=headers, timeout=10, allow_redirects=False).status_code
    except requests.ConnectionError:
        return None


@pytest.fixture
def installed(image: Stage, database: str, tmp_path: Path) -> Iterator[tuple[Installed, Machine]]:
    """The release with its surroundings, and a second machine for a serving host."""
    paths = home_paths(settings.HOME)
    user = settings.DATABASES["default"]["USER"]
    with ExitStack() as stack:
        main, other = stack.enter_context(machines(2))
        certificate = make_certificate(tmp_path, MAIN)
        sql = stack.enter_context(Door(connect_to(paths.sockets / f".s.PGSQL.{POSTGRES_PORT}")))
        broker = stack.enter_context(Door(connect_to(paths.valkey_socket)))
        web = (main.address, 8000)
        stack.enter_context(Ingress((MAIN, 443), MAIN, web, certificate))
        plain = stack.enter_context(Ingress(("127.0.0.1", free_port()), MAIN, web, None))
        secrets = {
            "driftline-secrets": {
                "DRIFTLINE_DATABASE_URL": f"postgresql://{user}@{MAIN}:{sql.port}/{database}",
                "DRIFTLINE_BROKER_URL": f"redis://{MAIN}:{broker.port}/0",
                "DRIFTLINE_SECRET_KEY": f"{new_id()}{new_id()}",
            },
            "files": {"ca.pem": certificate[0].read_text()},
            "host-tokens": {},
        }
        (tmp_path / "cluster").mkdir()
        release = Installed(Cluster(image, tmp_path / "cluster", secrets), main, plain.server_port)
        with all_ended(release.started):
            yield release, other


def test_the_steps_make_an_image(image: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    packages = image.place("/opt/driftline/.venv")
    version = subprocess.run(
        ["chroot", image.root, "/usr/bin/python3", "--version"], capture_output=True, text=True, check=True
    )
    passwords = image.place("/etc/passwd").read_text()

    with capsys.disabled():
        print(
            f"\n  {version.stdout.strip()}; {size_mb(image.root)} MB, of which packages {size_mb(packages)} MB "
            f"and the code {size_mb(image.place('/opt/driftline')) - size_mb(packages)} MB"
        )
    assert "driftline:x:10001:" in passwords
    assert image.place("/var/lib/driftline").stat().st_uid == 10001
    assert [
        one for one in image.place("/opt/driftline").iterdir() if one.name in (".git", "tests", "var")
    ] == []


def test_every_role_starts_in_it_and_answers(
    installed: tuple[Installed, Machine], capsys: pytest.CaptureFixture[str]
) -> None:
    release, other = installed
    main = release.main
    for start in (lambda: release.start("prepare", main), release.bootstrap):
        first = start()
        assert first.wait() == 0, first.log.read_text()

    web = release.start("web", main)
    roles = [release.start(role, main) for role in ("worker", "scheduler", "sources")]
    release.wait_for_probes("web", main)

    # what the image and the chart ask
    release.run("web", health_command(release.cluster.image))
    wait_until(
        lambda: (
            requests.get(f"http://{main.address}:8000/readyz", timeout=10).json()["checks"]
            == {"broker": "ok", "database": "ok", "workers": "ok"}
        ),
        seconds=START_SECONDS,
        what="readiness with a worker",
    )
    release.run(
        "worker",
        release.pods["worker"]["containers"][0]["livenessProbe"]["exec"]["command"],
        "driftline-worker",
    )
    for endpoint in of_kind(release.manifests, "ServiceMonitor")["driftline"]["spec"]["endpoints"]:
        token = f"Bearer {release.credentials['token']}"
        assert status_of(f"http://{main.address}:8000{endpoint['path']}", Authorization=token) == 200

    # what people and applications ask
    certificate = str(release.cluster.folder.parent / "certificate.pem")
    page = requests.get(f"https://{MAIN}/accounts/login/", timeout=30, verify=certificate)
    assert (page.status_code, "csrfmiddlewaretoken" in page.text) == (200, True)
    make_model(release, "credit")  # type: ignore[arg-type]
    assert infer(main, release.credentials["token"]) == 200

    # a serving host
    release.cluster.secrets["host-tokens"][HOST] = release.run(
        "web", ["python", "manage.py", "serving_host", "add", HOST]
    ).split()[-1]
    host = release.start("inference", other, HOST)
    release.wait_for_probes("inference", other)
    wait_until(
        lambda: infer(other, release.credentials["token"]) == 200, what="an answer of the serving host"
    )

    # what nobody may write
    refused = release.run(
        "web",
        ["/bin/sh", "-c", "touch /opt/driftline/x /usr/x 2>&1; id --user; grep CapEff /proc/self/status"],
    )
    assert refused.count("Read-only file system") == 2
    assert "10001" in refused.split()
    assert refused.split()[-1] == "0" * 16

    # what an upgrade runs first, beside them
    release.pods = pods(render(VALUES, is_upgrade=True))
    upgrade = release.start("prepare", main, "driftline-upgrade")
    assert (upgrade.wait(), "Nothing is to be applied" in upgrade.log.read_text()) == (0, True)

    for container in (host, web, *roles):
        assert container.stop(110) == 0, container.log.read_text()
    with capsys.disabled():
        print("\n  all six roles started, answered and stopped within their time")


def infer(machine: Machine, token: str) -> int:
    """Ask the model for one row, and return the status of the answer."""
    return requests.post(
        f"http://{machine.address}:8000/v2/models/credit/infer",
        data=infer_body([0.1, 0.2, 0.3, 0.4]),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        timeout=30,
    ).status_code
