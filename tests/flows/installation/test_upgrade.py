"""An installation is upgraded to the next release while it answers and logs, and goes over to its code."""

import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from driftline.operations.backup.manifest import read_manifest
from tests.flows.installation.clients import Asking, AskingWithKey, Load, Logging
from tests.flows.installation.conftest import Tell
from tests.flows.installation.ledger import assert_ledger_holds
from tests.flows.installation.running import MANAGE, Installation, make_model
from tests.ports import free_port
from tests.worlds.next_release import SETTINGS

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

MODEL = "upgraded"


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installation]:
    """An installation that no other test shares: it does not come back from the next release."""
    installation = Installation(tmp_path / "home", free_port())
    try:
        installation.start()
        yield installation
    finally:
        installation.end()


def test_no_inference_fails_and_no_row_is_lost_also_by_a_kill(
    installed: Installation, tmp_path: Path, tell: Tell
) -> None:
    next_release = Installation(installed.home, installed.port)
    next_release.environment["DJANGO_SETTINGS_MODULE"] = SETTINGS
    model_id = make_model(installed, MODEL)
    folder = tmp_path / "backup"
    try:
        with Load(installed, MODEL, asking=Asking, keyed=AskingWithKey, logging=Logging) as load:
            load.await_more(20)
            kill_upgrade(next_release, folder)
            load.await_more(20)
            upgraded = next_release.manage("upgrade", "--no-backup")
            assert upgraded.returncode == 0, upgraded.stdout + upgraded.stderr
            load.await_more(20)
            asked, logged = load.ledger(Asking, AskingWithKey), load.ledger(Logging)
            installed.stop()
            next_release.start()
            load.await_more(20)
        counts = assert_ledger_holds(next_release, model_id, load)
        invariants = next_release.check_invariants()
    finally:
        next_release.end()

    assert read_manifest(folder).migrations["inference"] == ["0001_initial"]
    assert f"at http://127.0.0.1:{installed.port}: `manage.py down`, then `manage.py up`" in upgraded.stdout
    assert (asked.refused, asked.unanswered, asked.turned_away) == ({}, 0, 0)
    assert (logged.unanswered, logged.turned_away) == (0, 0)
    tell(
        f"{len(asked.acknowledged):,} inferences until the restart, 0 failed, slowest {asked.slowest_s:.2f} s; "
        f"{dict(logged.refused)} logging refused, slowest {logged.slowest_s:.2f} s; {counts}; {invariants}; "
        + next(line for line in upgraded.stdout.splitlines() if line.startswith("Applied"))
    )


def kill_upgrade(installation: Installation, folder: Path) -> None:
    """Kill the command while it migrates, after its backup."""
    command = [sys.executable, str(MANAGE), "upgrade", "--backup", str(folder)]
    with subprocess.Popen(
        command, env=installation.environment, stdout=subprocess.PIPE, text=True
    ) as upgrading:
        assert upgrading.stdout is not None
        migrated = (line for line in upgrading.stdout if line.startswith("  inference."))
        list(islice(migrated, 3))
        upgrading.kill()
