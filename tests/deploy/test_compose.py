"""compose.yaml: every service starts what this release has, with settings that it knows, and shares what it must."""

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.deploy.commands import KNOWN_SETTINGS, check_command, commands_in
from tests.deploy.places import DEPLOY

FILE = DEPLOY / "compose.yaml"
OTHERS = {"postgres", "valkey", "proxy"}


def document() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text())


def services() -> dict[str, dict[str, Any]]:
    """The services that run Driftline's image."""
    return {name: one for name, one in document()["services"].items() if name not in OTHERS}


def words_of(service: dict[str, Any]) -> list[str]:
    return [*service.get("entrypoint", ()), *service["command"]]


@pytest.mark.parametrize("name", sorted(services()))
def test_each_role_starts_with_a_command_that_exists(name: str) -> None:
    found = commands_in(words_of(services()[name]))

    assert found
    for command in found:
        check_command(command)


def test_every_role_is_there() -> None:
    assert services().keys() == {"prepare", "web", "worker", "scheduler", "sources", "inference"}


@pytest.mark.parametrize("name", sorted(services()))
def test_roles_are_locked_down(name: str) -> None:
    service = services()[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert any(one.startswith("/tmp") for one in service["tmpfs"])
    assert "ports" not in service


def test_settings_are_known() -> None:
    names = {name for service in services().values() for name in service["environment"]}

    assert names <= KNOWN_SETTINGS


def test_variables_are_named_in_the_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", FILE.read_text() + (DEPLOY / "Caddyfile").read_text()))
    named = set(re.findall(r"^(\w+)=", (DEPLOY / "env.example").read_text(), re.MULTILINE))

    assert used <= named


def test_one_container_alone_serves_in_a_home() -> None:
    serving = [one["volumes"][0] for one in services().values() if "serve" in one["command"]]

    assert len(serving) == len(set(serving)) == 2


def test_volumes_and_networks_are_declared() -> None:
    found = document()
    volumes = {
        one.partition(":")[0] for service in found["services"].values() for one in service.get("volumes", ())
    }
    networks = {one for service in found["services"].values() for one in service["networks"]}

    assert {one for one in volumes if not one.startswith(".")} == set(found["volumes"])
    assert networks == set(found["networks"])


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="needs Compose (Debian: docker-compose)")
def test_compose_itself_takes_it() -> None:
    values = dict.fromkeys(
        ("POSTGRES_PASSWORD", "VALKEY_PASSWORD", "DRIFTLINE_SECRET_KEY", "DRIFTLINE_DOMAIN"), "x"
    )
    ending = subprocess.run(
        ["docker-compose", "--file", str(FILE), "--profile", "inference", "config", "--quiet"],
        env={"PATH": "/usr/bin:/bin", **values}, capture_output=True, text=True,
    )  # fmt: skip

    assert (ending.returncode, ending.stderr) == (0, "")


def test_without_its_secrets_it_does_not_start() -> None:
    required = set(re.findall(r"\$\{(\w+):\?", FILE.read_text()))

    assert required == {"POSTGRES_PASSWORD", "VALKEY_PASSWORD", "DRIFTLINE_SECRET_KEY", "DRIFTLINE_DOMAIN"}
