"""What a version must show before it answers, and what stays in memory for a rollback."""

import time
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import Mock

import msgspec
import numpy as np
import pytest

from inference.prediction_log.spool.record import feature_columns
from inference.runtime import session
from inference.serving import crashes, plan_watcher
from inference.serving.callers import InferenceCaller
from inference.serving.plan import PlanCanary, PlanModel, PlanToken, PlanVersion
from inference.serving.plan_watcher import LOOK_SECONDS, PlanWatcher
from inference.serving.refusals import Refusal
from inference.serving.routing import RoutingTable
from inference.serving.versions import preparation, rehearsal
from tests.attacks.models import attack_signature, boxes_model, boxes_that_take, range_model
from tests.inference.onnx_models import (
    failing_model,
    looping_model,
    root_model,
    store,
    summing_model,
    summing_signature,
)
from tests.inference.serving.running import publish, token

NEGATIVE = {"X": np.array([[-1, -2, -3]], np.float32)}


class Keeping:
    """A watcher in this process, which polls when the test says so."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.tables: list[RoutingTable] = []
        self.watcher = PlanWatcher(home, self.tables.append)
        self.versions: list[PlanVersion] = []

    def store(self, *models: bytes) -> None:
        self.versions = [
            store(self.home, model, summing_signature(3), id=place, version=str(place))
            for place, model in enumerate(models, 1)
        ]

    def deploy(self, champion: str, *shadows: str, **more: object) -> RoutingTable:
        """Publish a deployment and adopt it."""
        generation = len(self.tables) + 1
        model = PlanModel(1, 1, "sums", generation, champion, list(shadows), self.versions)
        publish(self.home, [msgspec.structs.replace(model, **more)], [], generation)
        self.watcher.settle()
        return self.table

    @property
    def table(self) -> RoutingTable:
        return self.tables[-1]

    @property
    def champion(self) -> str:
        route = self.table.champion(1)
        assert route is not None
        return route.version.plan.version

    def ask(self, batches: Sequence[dict[str, object]] = (NEGATIVE,)) -> None:
        """Let the champion remember that it was asked so."""
        route = self.table.champion(1)
        assert route is not None
        for batch in batches:
            route.version.recent.note(batch, len(batch["X"]))  # type: ignore[arg-type]


@pytest.fixture
def keeping(tmp_path: Path) -> Keeping:
    return Keeping(tmp_path)


def test_a_new_plan_is_looked_for_often_enough_to_hold_within_the_second_that_pages_promise() -> None:
    assert LOOK_SECONDS <= 0.5


class TestRehearsal:
    def test_keeps_the_champion_where_the_next_gives_no_number_for_recent_rows(
        self, keeping: Keeping
    ) -> None:
        keeping.store(summing_model(3), root_model(3))
        keeping.deploy("1")
        keeping.ask()

        table = keeping.deploy("2")

        assert keeping.champion == "1"
        assert "no finite number for 1 of 1 recent rows" in table.stale_models[1]

    def test_keeps_the_champion_where_the_next_fails_on_recent_rows(self, keeping: Keeping) -> None:
        keeping.store(summing_model(3), failing_model(3))
        keeping.deploy("1")
        keeping.ask()

        table = keeping.deploy("2")

        assert keeping.champion == "1"
        assert "cannot answer 1 recent rows" in table.stale_models[1]

    @pytest.mark.slow
    def test_keeps_the_champion_where_the_next_hangs_on_recent_rows(
        self, keeping: Keeping, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rehearsal, "MAX_RUN_SECONDS", 0.2)
        monkeypatch.setattr(session, "MAX_RUN_SECONDS", 0.2)
        keeping.store(summing_model(3), looping_model(3))
        keeping.deploy("1")
        keeping.ask()

        table = keeping.deploy("2")

        assert keeping.champion == "1"
        assert "does not answer 1 recent rows within 0.2 seconds" in table.stale_models[1]

    def test_is_passed_by_a_version_that_answers_as_well(self, keeping: Keeping) -> None:
        keeping.store(summing_model(3), looping_model(3))
        keeping.deploy("1")
        keeping.ask([{"X": np.ones((rows, 3), np.float32)} for rows in (1, 2, 30, 1000)])

        keeping.deploy("2")

        assert keeping.champion == "2"

    def test_also_judges_a_shadow_that_is_promoted(self, keeping: Keeping) -> None:
        keeping.store(summing_model(3), root_model(3))
        keeping.deploy("1", "2")
        keeping.ask()

        keeping.deploy("2")

        assert keeping.champion == "1"

    def test_also_judges_a_canary(self, keeping: Keeping) -> None:
        keeping.store(summing_model(3), root_model(3))
        keeping.deploy("1")
        keeping.ask()

        table = keeping.deploy("1", canary=PlanCanary("2", 0.5, "subject"))

        route = table.champion(1)
        assert route is not None
        assert route.canary is None
        assert "The canary does not answer" in table.stale_models[1]

    def test_never_refuses_a_rollback(self, keeping: Keeping) -> None:
        keeping.store(root_model(3), summing_model(3))
        keeping.deploy("1")
        keeping.deploy("2", previous="1", previous_until=time.time() + 60)
        keeping.ask()

        keeping.deploy("1")

        assert keeping.champion == "1"


class TestPreparing:
    """Nothing waits for a version that is not ready."""

    def publish_attack(self, keeping: Keeping, tokens: list[PlanToken]) -> None:
        """Promote a version that runs for long on what the champion was asked."""
        model = PlanModel(1, 1, "sums", 2, "2", [], keeping.versions)
        publish(keeping.home, [model], tokens, 2)

    def deploy_harmless(self, keeping: Keeping) -> None:
        """Deploy a champion that was asked what its successor takes long for."""
        keeping.versions = [
            store(keeping.home, model, attack_signature(), id=place, version=str(place))
            for place, model in enumerate((range_model(), boxes_model()), 1)
        ]
        keeping.deploy("1")
        keeping.ask([{"X": np.array([[boxes_that_take(1)]], np.int64)}])

    @pytest.mark.slow
    def test_a_revoked_token_is_refused_while_a_version_is_rehearsed_for_long(self, keeping: Keeping) -> None:
        self.deploy_harmless(keeping)

        self.publish_attack(keeping, [token("dl_other")])
        keeping.watcher.poll()

        assert isinstance(keeping.table.authenticate(InferenceCaller(b"Bearer dl_infer"), "infer"), Refusal)
        assert not isinstance(
            keeping.table.authenticate(InferenceCaller(b"Bearer dl_other"), "infer"), Refusal
        )
        assert (keeping.champion, keeping.table.stale_models[1]) == ("1", "The version is not loaded yet.")
        keeping.watcher.settle()
        assert keeping.champion == "2"

    @pytest.mark.slow
    def test_a_rehearsal_that_does_not_end_is_given_up_and_blamed_on_the_version(
        self, keeping: Keeping, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module, name in ((preparation, "MAX_RUN_SECONDS"), (preparation, "GRACE_SECONDS")):
            monkeypatch.setattr(module, name, 0.05)
        self.deploy_harmless(keeping)

        self.publish_attack(keeping, [])
        keeping.watcher.settle()

        assert keeping.champion == "1"
        assert "a run does not end" in keeping.table.stale_models[1]
        assert crashes.read_crashes(keeping.home)[2].reason == "did not end a run"

    def test_a_failed_rehearsal_is_repeated_after_a_change_alone(
        self, keeping: Keeping, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rehearsals = Mock(wraps=rehearsal.rehearse)
        monkeypatch.setattr(preparation, "rehearse", rehearsals)
        monkeypatch.setattr(plan_watcher, "RETRY_SECONDS", 0)
        keeping.store(summing_model(3), failing_model(3))
        keeping.deploy("1")
        keeping.ask()
        keeping.deploy("2")
        for _ in range(3):
            keeping.watcher.settle()
        publish(keeping.home, [keeping.table.plan.models[0]], [token("dl_new")], 3)
        keeping.watcher.settle()
        before = rehearsals.call_count

        keeping.deploy("2")  # a deployment of its own

        assert (before, rehearsals.call_count) == (1, 2)

    def test_a_file_that_comes_back_is_loaded_without_a_change(
        self, keeping: Keeping, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keeping.store(summing_model(3))
        path = keeping.home / keeping.versions[0].path
        path.rename(aside := path.with_suffix(".aside"))
        assert "cannot be read" in keeping.deploy("1").stale_models[1]

        aside.rename(path)
        later = time.monotonic() + plan_watcher.RETRY_SECONDS
        monkeypatch.setattr(time, "monotonic", lambda: later)
        keeping.watcher.settle()

        assert keeping.champion == "1"


class TestPreviousChampion:
    def test_is_rolled_back_to_without_its_file(self, keeping: Keeping) -> None:
        keeping.store(summing_model(3), root_model(3))
        keeping.deploy("1")
        keeping.deploy("2", previous="1", previous_until=time.time() + 60)
        (keeping.home / keeping.versions[0].path).unlink()

        keeping.deploy("1")

        assert keeping.champion == "1"

    def test_is_loaded_with_the_champion_when_a_process_starts(self, keeping: Keeping) -> None:
        keeping.store(summing_model(3), root_model(3))

        table = keeping.deploy("2", previous="1", previous_until=time.time() + 60)

        assert sorted(table.loaded) == [1, 2]

    def test_is_let_go_when_its_time_is_over(self, keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
        keeping.store(summing_model(3), root_model(3))
        keeping.deploy("1")
        now = time.time()
        keeping.deploy("2", previous="1", previous_until=now + 60)
        monkeypatch.setattr(time, "time", lambda: now + 61)

        keeping.watcher.settle()

        assert sorted(keeping.deploy("2").loaded) == [2]

    def test_of_before_the_last_promotion_is_let_go(self, keeping: Keeping) -> None:
        keeping.store(summing_model(3), root_model(3), looping_model(3))
        later = time.time() + 60
        keeping.deploy("1")
        keeping.deploy("2", previous="1", previous_until=later)

        keeping.deploy("3", previous="2", previous_until=later)

        assert sorted(keeping.deploy("3", previous="2", previous_until=later).loaded) == [2, 3]


class TestQuarantine:
    def test_keeps_a_version_out_and_serves_the_others(self, keeping: Keeping) -> None:
        keeping.store(summing_model(3), root_model(3))
        keeping.deploy("1", "2")
        for _ in range(crashes.MAX_CRASHES):
            blame(keeping.home, version_id=2)

        keeping.watcher.settle()

        route = keeping.table.champion(1)
        assert route is not None
        assert (keeping.champion, list(route.shadows)) == ("1", [])
        assert "SIGSEGV" in keeping.table.failed[2]

    def test_of_the_champion_leaves_the_model_without_one_and_says_why(self, keeping: Keeping) -> None:
        keeping.store(summing_model(3))
        keeping.deploy("1")
        for _ in range(crashes.MAX_CRASHES):
            blame(keeping.home, version_id=1)

        keeping.watcher.settle()

        assert keeping.table.champion(1) is None
        assert f"harmed the serving processes {crashes.MAX_CRASHES} times" in keeping.table.stale_models[1]

    def test_of_a_new_champion_brings_back_the_one_before(self, keeping: Keeping) -> None:
        keeping.store(summing_model(3), root_model(3))
        for _ in range(crashes.MAX_CRASHES):
            blame(keeping.home, version_id=2)

        keeping.deploy(
            "2", previous="1", previous_until=time.time() + 60
        )  # as a process begins that took its place

        assert keeping.champion == "1"
        assert "quarantined" in keeping.table.stale_models[1]

    def test_ends_when_it_is_lifted(self, keeping: Keeping) -> None:
        keeping.store(summing_model(3))
        for _ in range(crashes.MAX_CRASHES):
            blame(keeping.home, version_id=1)
        keeping.deploy("1")

        crashes.lift_quarantine(keeping.home, 1)
        keeping.watcher.settle()

        assert keeping.champion == "1"


def blame(home: Path, *, version_id: int) -> None:
    """Leave what a process leaves that crashed while it ran a version."""
    marks = crashes.RunMarks()
    marks.begin(version_id)
    folder = home / "serving"
    folder.mkdir(exist_ok=True)
    (folder / "1.marks").write_bytes(bytes(marks._view))
    (folder / "1.crash").write_text("")
    crashes.note_death(home, 1, -11, time.time())


class TestPrivacy:
    """What the log may not keep never reaches the spool."""

    def test_a_feature_that_is_dropped_or_hashed_is_so_in_the_record(self, keeping: Keeping) -> None:
        (keeping.home / "keys").mkdir()
        (keeping.home / "keys" / "hash_key").write_text("secret")
        keeping.store(summing_model(3))
        keeping.deploy("1")
        first, second, third = keeping.versions[0].signature.features

        table = keeping.deploy("1", privacy={first.name: "drop", second.name: "hash"})

        route = table.champion(1)
        assert route is not None
        columns = feature_columns(route.version.features({"X": np.array([[1, 2, 3], [1, 2, 4]], np.float32)}))
        assert [column.name for column in columns] == [second.name, third.name]
        hashed, other_hash = columns[0].data
        assert hashed == other_hash
        assert str(hashed).startswith("hmac:")
        assert columns[1].data == np.array([3, 4], np.float32).tobytes()

    def test_a_thumbnail_is_drawn_of_the_share_that_the_model_keeps(self, keeping: Keeping) -> None:
        keeping.store(summing_model(3))
        before = keeping.deploy("1")
        assert before.champion(1).version.thumbnail_share == 0.0  # type: ignore[union-attr]

        table = keeping.deploy("1", thumbnail_share=0.25)

        assert table.champion(1).version.thumbnail_share == 0.25  # type: ignore[union-attr]

    def test_it_is_logged_again_when_the_policy_is_taken_back(self, keeping: Keeping) -> None:
        (keeping.home / "keys").mkdir()
        (keeping.home / "keys" / "hash_key").write_text("secret")
        keeping.store(summing_model(3))
        [name, *_] = [feature.name for feature in keeping.versions[0].signature.features]
        keeping.deploy("1", privacy={name: "drop"})

        table = keeping.deploy("1")

        route = table.champion(1)
        assert route is not None
        assert len(feature_columns(route.version.features({"X": np.zeros((1, 3), np.float32)}))) == 3
