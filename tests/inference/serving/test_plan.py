"""The plan file, read again whenever it changes."""

from pathlib import Path

import pytest

from inference.serving.plan import (
    PLAN_FILE,
    PlanChange,
    PlanModel,
    PlanReader,
    PlanUnreadable,
    changes_path,
    load_plan,
    publish_change,
)
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


class TestAChange:
    def test_is_added_to_the_plan_and_leaves_the_other_models_as_they_are(self, tmp_path: Path) -> None:
        path = tmp_path / PLAN_FILE
        publish(tmp_path, [a_model(1), a_model(2)], [], 1)
        reader = PlanReader(path)
        kept = reader.read().models[1]
        written = path.stat().st_mtime_ns

        assert publish_change(PlanChange(2, [a_model(1, "2"), a_model(3)]), path)

        assert reader.has_changed()
        plan = reader.read()
        assert (plan.generation, plan.models) == (2, [a_model(1, "2"), a_model(2), a_model(3)])
        assert plan.models[1] is kept
        assert path.stat().st_mtime_ns == written
        assert not reader.has_changed()
        assert load_plan(path) == plan

    def test_takes_a_model_away(self, tmp_path: Path) -> None:
        publish(tmp_path, [a_model(1), a_model(2)], [], 1)

        publish_change(PlanChange(2, [], removed=[1]), tmp_path / PLAN_FILE)

        assert load_plan(tmp_path / PLAN_FILE).models == [a_model(2)]

    def test_is_forgotten_once_the_whole_plan_holds_it(self, tmp_path: Path) -> None:
        path = tmp_path / PLAN_FILE
        publish(tmp_path, [a_model(1)], [], 1)
        publish_change(PlanChange(2, [a_model(1, "2")]), path)
        publish_change(PlanChange(3, [a_model(3, "1")]), path)
        reader = PlanReader(path)
        kept = reader.read().models[1]

        publish(tmp_path, [a_model(1, "3"), a_model(3, "1")], [], 4)
        publish_change(PlanChange(5, [a_model(2)]), path)

        read = reader.read().models
        assert read == load_plan(path).models == [a_model(1, "3"), a_model(2), a_model(3, "1")]
        assert read[2] is kept

    def test_that_is_older_than_the_plan_changes_nothing(self, tmp_path: Path) -> None:
        """A writer dies after it wrote the plan, before it removed the changes."""
        path = tmp_path / PLAN_FILE
        publish(tmp_path, [a_model(1)], [], 1)
        publish_change(PlanChange(2, [a_model(1, "2")]), path)
        left = changes_path(path).read_bytes()
        publish(tmp_path, [a_model(1, "3")], [], 3)

        changes_path(path).write_bytes(left)

        assert load_plan(path).models == [a_model(1, "3")]

    def test_of_a_database_restored_from_a_backup_is_not_added_to_the_newer_plan(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / PLAN_FILE
        publish(tmp_path, [a_model(1)], [], 7)

        assert not publish_change(PlanChange(3, [a_model(2)]), path)

        publish(tmp_path, [a_model(2)], [], 3)
        assert publish_change(PlanChange(4, [a_model(3)]), path)
        assert load_plan(path).models == [a_model(2), a_model(3)]

    def test_of_a_database_restored_from_a_backup_is_not_added_to_newer_changes(self, tmp_path: Path) -> None:
        """The plan itself is older than the backup; what was changed since is not in the database any more."""
        path = tmp_path / PLAN_FILE
        publish(tmp_path, [a_model(1)], [], 1)
        publish_change(PlanChange(2, [a_model(1, "2")]), path)
        publish_change(PlanChange(3, [PlanModel(2, 1, "m" * 40_000, 1, None, [], [])]), path)

        assert not publish_change(PlanChange(3, [a_model(3)]), path)
        assert publish_change(PlanChange(4, [a_model(3)]), path)
        assert not publish_change(PlanChange(2, [a_model(4)]), path)

    def test_that_is_half_written_waits_for_its_end_and_is_followed_by_no_other(self, tmp_path: Path) -> None:
        path = tmp_path / PLAN_FILE
        publish(tmp_path, [a_model(1)], [], 1)
        publish_change(PlanChange(2, [a_model(1, "2")]), path)
        whole = changes_path(path).read_bytes()
        changes_path(path).write_bytes(whole[:-9])
        reader = PlanReader(path)

        assert reader.read().models == [a_model(1)]
        assert not reader.has_changed()
        assert not publish_change(PlanChange(3, [a_model(1, "3")]), path)

        changes_path(path).write_bytes(whole)

        assert reader.has_changed()
        assert reader.read().models == [a_model(1, "2")]

    def test_needs_a_plan_and_one_that_is_larger_than_all_changes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / PLAN_FILE
        monkeypatch.setattr("inference.serving.plan.MIN_CHANGES_BYTES", 0)

        without_plan = publish_change(PlanChange(1, [a_model(1)]), path)
        publish(tmp_path, [a_model(1), a_model(2)], [], 1)
        taken = [publish_change(PlanChange(2 + number, [a_model(1)]), path) for number in range(10)]

        assert not without_plan
        assert taken == sorted(taken, reverse=True)
        assert (taken[0], taken[-1]) == (True, False)
