"""Background work that kills or holds whoever begins it: it is given up with its reason, and others' work goes on."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest
from django.db.models.functions import Now
from django.utils import timezone

from driftline import tasks
from driftline.base.accounts.models import AuditEntry, Project
from driftline.base.work.attempts import MAX_ATTEMPTS
from driftline.base.work.long_work import LongWorkKind
from driftline.operations import long_work
from driftline.operations.invariants import check_all
from driftline.operations.services.diagnosis import diagnose
from inference.registry.files.datasets import store_reference
from inference.registry.intake.limits import IntakeLimits
from inference.registry.lineage import Lineage
from inference.registry.models import Model
from inference.registry.services import create_model
from inference.registry.versions import upload_version
from monitors.definitions import importance, services
from monitors.definitions.models import Reference
from monitors.metrics.store.models import SegmentSearch
from tests.attacks.models import boxes_model
from tests.embedded import make_home
from tests.inference.onnx_models import linear_model

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME = tmp_path
    return tmp_path


@pytest.fixture
def attacker(db: None) -> Project:
    return Project.objects.create(slug="attacker", name="Attacker")


@pytest.fixture
def neighbour(db: None) -> Project:
    return Project.objects.create(slug="neighbour", name="Neighbour")


def make_served(project: Project, content: bytes, name: str = "m") -> Model:
    model = create_model(project=project, name=name, task="regression", actor="test")
    upload_version(
        model=model, stream=BytesIO(content), metadata=b'{"features": [{"name": "X"}]}', lineage=Lineage(), actor="test"
    )  # fmt: skip
    return model


def reference_of(model: Model, value: float, rows: int = 40) -> Reference:
    lines = "\n".join(f"{int(value) + place}" for place in range(rows))
    store_reference(
        model=model,
        version="1",
        stream=BytesIO(f"X\n{lines}".encode()),
        content_type="text/csv",
        actor="test",
    )
    return Reference.objects.get(model=model)


def end_leases() -> None:
    """Let time pass until leases and pauses are over."""
    Reference.objects.exclude(lease_until=None).update(lease_until=Now() - timedelta(seconds=1))


def ask_for_searches(model: Model, number: int) -> list[int]:
    start = datetime(2026, 1, 1, tzinfo=timezone.get_current_timezone())
    return [
        SegmentSearch.objects.create(
            model=model,
            start=start + timedelta(days=place),
            end=start + timedelta(days=place + 1),
            requested_by="test",
        ).pk
        for place in range(number)
    ]


def _with_work(kind: LongWorkKind, work: Callable[[int], object]) -> LongWorkKind:
    return replace(kind, work=work)


@contextmanager
def _no_slot() -> Iterator[bool]:
    yield False


class TestAReferenceWhoseImportanceNeverEnds:
    def test_is_built_without_importance_and_says_so(
        self, attacker: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A model compares X equal boxes with each other; its reference asks it for 20,000 a row, time after time."""
        short = IntakeLimits(load_cpu_s=40, run_cpu_s=1, wall_s=120)
        monkeypatch.setattr(
            services, "measure_importance", partial(importance.measure_importance, limits=short)
        )
        reference = reference_of(make_served(attacker, boxes_model()), 20_000)

        services.build_reference(reference.pk)

        reference.refresh_from_db()
        assert (reference.state, reference.is_active, reference.importance) == ("ready", True, {})
        assert "importance is missing" in reference.importance_note
        assert "more than 1 s of CPU time" in reference.importance_note

    def test_is_never_run_in_the_worker_itself(
        self, attacker: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The worker holds the database, the broker and the key: a stranger's model is not loaded into it."""
        reference = reference_of(make_served(attacker, linear_model(2.0, 1.0)), 0)

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("a session was opened in the worker's process")

        monkeypatch.setattr(ort, "InferenceSession", refuse)
        services.build_reference(reference.pk)

        reference.refresh_from_db()
        assert (reference.state, reference.error, reference.importance_note) == ("ready", "", "")
        assert reference.importance["X"] > 1

    def test_whose_answers_are_no_numbers_is_built_without(self, attacker: Project) -> None:
        """NaN is no JSON: what a model answers must not keep its reference from being stored."""
        reference = reference_of(make_served(attacker, linear_model(float("inf"), float("-inf"))), 0)

        services.build_reference(reference.pk)

        reference.refresh_from_db()
        assert (reference.state, reference.importance) == ("ready", {})
        assert "not all of the model's answers are finite" in reference.importance_note


class TestAReferenceThatKillsItsWorkers:
    @pytest.fixture
    def poison(self, attacker: Project, monkeypatch: pytest.MonkeyPatch) -> Reference:
        """Whoever builds this reference is gone, as by kill -9: nothing of what follows is done, nothing is written."""
        reference = reference_of(make_served(attacker, linear_model(1.0, 0.0)), 0)
        build = services._fill

        def die(one: Reference) -> Any:
            if one.pk == reference.pk:
                raise KeyboardInterrupt
            return build(one)

        monkeypatch.setattr(services, "_fill", die)
        return reference

    def test_is_given_up_after_three_while_the_neighbours_work_was_done(
        self, poison: Reference, neighbour: Project, tmp_path: Path
    ) -> None:
        healthy = reference_of(make_served(neighbour, linear_model(1.0, 0.0)), 0)
        deaths = 0
        while long_work.something_waits():
            try:
                long_work.run_next()
            except KeyboardInterrupt:
                deaths += 1
            end_leases()

        poison.refresh_from_db()
        healthy.refresh_from_db()
        assert (deaths, poison.state, healthy.state) == (MAX_ATTEMPTS, "failed", "ready")
        assert "Its worker died 3 times" in poison.error
        [event] = AuditEntry.objects.filter(action="work.failed")
        assert (event.project, event.after["id"], event.after["reason"]) == (
            poison.model.project,
            poison.pk,
            poison.error,
        )
        [found] = [one for one in diagnose(make_home(tmp_path)) if one.subject == "background work"]
        assert "Its worker died 3 times" in found.text
        assert "retry_work" in found.remedy
        [broken] = [one for one in check_all() if not one.holds and "given up" in one.statement]
        assert "Its worker died 3 times" in broken.counts

    def test_is_not_begun_by_a_second_worker_while_the_first_is_at_it(self, poison: Reference) -> None:
        """The sweep enqueues its task each five seconds, and the broker may deliver a message twice."""
        with pytest.raises(KeyboardInterrupt):
            services.build_reference(poison.pk)

        services.build_reference(poison.pk)  # or it would raise

        poison.refresh_from_db()
        assert (poison.state, poison.attempts) == ("building", 1)

    def test_that_cannot_be_read_fails_at_once(self, attacker: Project) -> None:
        reference = reference_of(make_served(attacker, linear_model(1.0, 0.0)), 0)
        Reference.objects.filter(pk=reference.pk).update(attempts=0)
        (services.settings.HOME / reference.dataset.path).write_bytes(b"no Parquet")

        services.build_reference(reference.pk)

        reference.refresh_from_db()
        assert (reference.state, reference.attempts) == ("failed", 1)
        assert reference.error


class TestACrowdOfOneProject:
    @pytest.fixture
    def done(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The searches that were done, in order; what they find does not matter."""
        found: list[int] = []

        def search(pk: int) -> None:
            found.append(pk)
            SegmentSearch.objects.filter(pk=pk).update(state="ready")

        kinds = [kind for kind in long_work.kinds() if kind.model is SegmentSearch]
        monkeypatch.setattr(long_work, "kinds", lambda: [_with_work(kind, search) for kind in kinds])
        return found

    def test_does_not_delay_the_only_work_of_another(
        self, attacker: Project, neighbour: Project, done: list[int]
    ) -> None:
        crowd = create_model(project=attacker, name="m", task="regression", actor="test")
        ask_for_searches(crowd, 150)
        [single] = ask_for_searches(
            create_model(project=neighbour, name="m", task="regression", actor="test"), 1
        )

        for _ in range(3):
            long_work.run_next()

        assert single in done[:2]
        assert len(done) == 3

    def test_has_its_next_turn_after_the_projects_of_which_nothing_is_worked_on(
        self, attacker: Project, neighbour: Project, done: list[int]
    ) -> None:
        """A search that takes minutes holds one slot; the other slot is not that project's as well."""
        crowd = create_model(project=attacker, name="m", task="regression", actor="test")
        running, *_ = ask_for_searches(crowd, 5)
        SegmentSearch.objects.filter(pk=running).update(
            lease_token=1, lease_until=Now() + timedelta(minutes=1)
        )
        singles = ask_for_searches(
            create_model(project=neighbour, name="m", task="regression", actor="test"), 2
        )

        for _ in range(2):
            long_work.run_next()

        assert done == singles


class TestAWorker:
    def test_keeps_a_process_for_short_work_whatever_happens_to_the_one_that_has_the_slot(self) -> None:
        """With two processes one does long work at a time; when it is killed, the slot is free again."""
        script = """
import os, signal
from driftline.operations.long_slots import long_slot, open_slots

open_slots(2)
ready, begun = os.pipe()
holder = os.fork()
if not holder:
    with long_slot() as is_free:
        os.write(begun, b"1" if is_free else b"0")
        signal.pause()
assert os.read(ready, 1) == b"1"
with long_slot() as is_free:
    print("while it is held:", is_free)
os.kill(holder, signal.SIGKILL)
os.waitpid(holder, 0)
with long_slot() as is_free:
    print("after its holder was killed:", is_free)
"""
        told = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT / "platform")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

        assert told == "while it is held: False\nafter its holder was killed: True\n"

    def test_leaves_long_work_alone_when_no_slot_is_free(
        self, attacker: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reference = reference_of(make_served(attacker, linear_model(1.0, 0.0)), 0)
        monkeypatch.setattr(tasks, "long_slot", _no_slot)

        tasks.long_work()

        reference.refresh_from_db()
        assert (reference.state, reference.attempts) == ("building", 0)
