"""The plan file, read again whenever it changes."""

from pathlib import Path

import pytest

from inference.serving.plan import PLAN_FILE, PlanModel, PlanReader, PlanUnreadable
from tests.inference.serving.running import publish


def a_model(number: int, champion: str | None = None) -> PlanModel:
    return PlanModel(number, 1, f"model-{number}", 1, champion, [], [])


def test_models_that_did_not_change_are_the_same_objects(tmp_path: Path) -> None:
    reader = PlanReader(tmp_path / PLAN_FILE)
    publish(tmp_path, [a_model(1), a_model(2), a_model(3)], [], 1)
    changing, kept, _ = reader.read().models

    publish(tmp_path, [a_model(1, "2"), a_model(2)], [], 2)

    plan = reader.read()
    assert plan.generation == 2
    assert plan.models == [a_model(1, "2"), a_model(2)]
    assert plan.models[1] is kept
    assert plan.models[0] != changing


def test_a_broken_model_makes_the_plan_unreadable_and_the_next_whole_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / PLAN_FILE
    reader = PlanReader(path)
    publish(tmp_path, [a_model(1)], [], 1)
    reader.read()

    path.write_bytes(b'{"generation": 2, "models": [{"id": "one"}], "tokens": []}')
    with pytest.raises(PlanUnreadable, match="publish it again"):
        reader.read()
    publish(tmp_path, [a_model(1)], [], 3)

    assert reader.read().models == [a_model(1)]
