"""Where a model of a user may be loaded: in serving, and in children behind walls, never in a worker's own process."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.sources import product_trees

pytestmark = pytest.mark.slow

OPENERS = {"InferenceSession", "OnnxSession", "load_session", "FeatureScorer"}
MAY_OPEN = {
    "inference/runtime",  # what the others are made of: pure functions over a model that the caller chose
    "inference/serving",  # serving processes, which hold no secret of Django
    "inference/registry/intake",  # children behind the intake's walls from here on
    "inference/registry/trials",
    "monitors/definitions/importance/examination.py",
    "monitors/workflows/trainers",  # a subprocess, with a model that it made itself
    "platform/driftline_agent",  # runs on devices
    "platform/driftline_client",  # runs where its user runs it
}
CHILDREN_ALONE = {
    "inference/registry/intake": {"child.py", "examination.py", "session.py", "rehearsal.py"},
    "inference/registry/trials": {"child.py", "examination.py"},
    "monitors/workflows/trainers": {"child.py", "convert.py"},
}


@cache
def openers() -> list[Path]:
    """List the files that name what opens a session."""
    return [path for path, tree in product_trees().items() if _names(tree) & OPENERS]


def _names(tree: ast.Module) -> set[str]:
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return names | {
        one.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for one in node.names
    }


def test_sessions_are_opened_in_serving_and_behind_walls_only() -> None:
    found = openers()

    assert Path("monitors/definitions/importance/examination.py") in found
    assert [str(path) for path in found if not any(path.is_relative_to(place) for place in MAY_OPEN)] == []


def test_of_folders_with_a_child_only_its_side_of_the_wall_opens_them() -> None:
    outside = [
        str(path)
        for path in openers()
        for folder, files in CHILDREN_ALONE.items()
        if path.is_relative_to(folder) and path.name not in files
    ]

    assert outside == []


def test_nothing_that_a_worker_runs_imports_the_side_behind_the_wall() -> None:
    behind = {
        "inference.registry.intake.examination",
        "inference.registry.trials.examination",
        "monitors.definitions.importance.examination",
        "inference.runtime.scoring",
    }
    importers = {
        str(path)
        for path, tree in product_trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for one in node.names
        if node.module in behind or f"{node.module}.{one.name}" in behind
    }

    assert {
        path for path in importers if path.rsplit("/", 1)[-1] not in ("child.py", "examination.py")
    } == set()
