"""An installation of an earlier release is upgraded while it answers and logs, and goes over to today's code."""

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from driftline.backup.manifest import read_manifest
from tests.flows.installation.clients import Asking, AskingWithKey, Load, Logging
from tests.flows.installation.conftest import Tell
from tests.flows.installation.ledger import assert_ledger_holds
from tests.flows.installation.running import MANAGE, Installation, make_model
from tests.ports import free_port

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

BEFORE = "cb593865e93b9351770eadc6cac750f3a930122b"
"""The last commit of the release before, which lacks 36 of today's migrations."""
MODEL = "upgraded"


@pytest.fixture
def before(tmp_path: Path) -> Iterator[Installation]:
    """An installation that runs the code of the release before, from a checkout of its own."""
    archive, code = tmp_path / "before.tar", tmp_path / "before"
    taken = subprocess.run(
        ["git", "archive", f"--output={archive}", BEFORE], cwd=MANAGE.parent, capture_output=True, check=False
    )
    if taken.returncode:
        pytest.skip(f"the history of this checkout does not hold {BEFORE[:8]}, the release before")
    with tarfile.open(archive) as packed:
        packed.extractall(code, filter="data")
    installation = Installation(tmp_path / "home", free_port(), code=code)
    installation.environment["PYTHONPATH"] = f"{code}:{code / 'platform'}"  # before what is installed
    try:
        installation.start()
        yield installation
    finally:
        installation.end()


def test_no_inference_fails_and_no_row_is_lost_also_by_a_kill(
    before: Installation, tmp_path: Path, tell: Tell
) -> None:
    today = Installation(before.home, before.port)
    model_id = make_model(before, MODEL)
    folder = tmp_path / "backup"
    try:
        with Load(before, MODEL, asking=Asking, keyed=AskingWithKey, logging=Logging) as load:
            load.await_more(20)
            kill_upgrade(today, folder)
            load.await_more(20)
            upgraded = today.manage("upgrade", "--no-backup")
            assert upgraded.returncode == 0, upgraded.stdout + upgraded.stderr
            load.await_more(20)
            asked, logged = load.ledger(Asking, AskingWithKey), load.ledger(Logging)
            before.stop()
            today.start()
            load.await_more(20)
        counts = assert_ledger_holds(today, model_id, load)
        invariants = today.check_invariants()
    finally:
        today.end()

    assert len(read_manifest(folder).migrations["inference"]) == 26
    assert f"at http://127.0.0.1:{before.port}: `manage.py down`, then `manage.py up`" in upgraded.stdout
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
        list(islice(migrated, 5))
        upgrading.kill()
