"""What runs where the system has no walls: nothing that others wrote."""

from pathlib import Path

import pytest

from monitors.workflows.trainers import walls
from monitors.workflows.trainers.catalogue import SHIPPED
from monitors.workflows.trainers.job import Limits, Specification, TrainingJob
from monitors.workflows.trainers.walls import NotIsolated, raise_walls


@pytest.fixture(autouse=True)
def without_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without Landlock, seccomp and namespaces."""
    for name in ("leave_network", "close_file_system", "drop_capabilities", "filter_system_calls"):
        monkeypatch.setattr(walls.sandbox, name, lambda **_: False)
    monkeypatch.setattr(walls, "_gather_code", lambda folder: [])


def specification(target: str | None) -> Specification:
    job = TrainingJob(data="rows.parquet", features=[], task="binary")
    return Specification(trainer="any", target=target, job=job, limits=Limits(), parent=1)


@pytest.mark.parametrize("target", [None, "acme.trainers:forest"])
def test_a_model_or_trainer_of_others_is_refused(target: str | None, tmp_path: Path) -> None:
    with pytest.raises(NotIsolated, match="only the shipped trainers run here"):
        raise_walls(specification(target), tmp_path)


def test_a_shipped_trainer_runs(tmp_path: Path) -> None:
    assert not raise_walls(specification(SHIPPED["lightgbm"]), tmp_path).files
