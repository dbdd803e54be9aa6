"""The systemd units: commands, settings and order."""

import configparser
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.commands import KNOWN_SETTINGS, check_command, commands_in
from tests.deploy.places import DEPLOY

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def read(path: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path)
    return parser


def starts(path: Path) -> list[str]:
    lines = path.read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith("ExecStart=")]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_each_unit_starts_what_exists(path: Path) -> None:
    for line in starts(path):
        [command] = commands_in(shlex.split(line.replace("%%", "%")))
        check_command(command)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_each_unit_runs_as_its_own_user_and_writes_its_home_alone(path: Path) -> None:
    service = read(path)["Service"]

    assert service["User"] == "driftline"
    assert (service["ProtectSystem"], service["StateDirectory"]) == ("strict", "driftline")
    assert "DRIFTLINE_HOME=/var/lib/driftline" in path.read_text()


def test_a_database_that_is_away_at_boot_keeps_no_unit_down() -> None:
    """Units that require one which failed are not started again: so it is tried until it has succeeded."""
    prepare = read(DEPLOY / "systemd" / "driftline-prepare.service")["Service"]
    others = [read(path)["Service"] for path in UNITS if path.stem != "driftline-prepare"]

    assert (prepare["Restart"], prepare["RestartMode"]) == ("on-failure", "direct")
    assert {one["Restart"] for one in others} == {"always"}


def test_the_target_wants_every_role() -> None:
    wanted = read(DEPLOY / "systemd" / "driftline.target")["Unit"]["Wants"].split()

    assert {*wanted, "driftline-prepare.service"} == {path.name for path in UNITS}


def test_the_settings_of_the_example_are_known() -> None:
    lines = (DEPLOY / "systemd" / "environment.example").read_text().splitlines()

    assert {line.partition("=")[0] for line in lines if line and not line.startswith("#")} <= KNOWN_SETTINGS


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_itself_knows_every_line() -> None:
    ending = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, UNITS)], capture_output=True, text=True
    )

    ours = [line for line in ending.stderr.splitlines() if "driftline" in line]
    assert [line for line in ours if "Unknown" in line or "Failed to parse" in line] == []
