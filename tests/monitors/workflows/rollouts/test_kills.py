"""A worker that is killed at any statement leaves one champion and one weight, and the next one goes on from there."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from driftline.base.accounts.models import Project
from inference.registry.models import DeploymentChange, UnpublishedChange
from monitors.workflows.engine import advance
from monitors.workflows.models import ACTIVE_STATES, Rollout, Run
from monitors.workflows.rollouts.services import pause_rollout, resume_rollout, roll_back_run
from tests.worlds.rollouts import RolloutWorld, run_after_gate

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

MAX_STATEMENTS = 90
"""More than a check of a rollout runs, so that some are not killed at all."""


class Killed(BaseException):
    """No handler of the product catches it, as none hears of `kill -9`; what is not committed is taken back."""


@contextmanager
def killed_at(statement: int) -> Iterator[None]:
    """Kill the worker at its nth statement."""
    seen = 0

    def count(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == statement:
            raise Killed
        return execute(sql, *arguments)

    with connection.execute_wrapper(count):
        try:
            yield
        except Killed:
            transaction.set_rollback(False)  # the test's own transaction goes on


def check_invariants(world: RolloutWorld) -> None:
    """Whatever happened: one champion, at most one share, and both as the rollout says."""
    run, deployment = Run.objects.get(pk=world.run.pk), world.deployment
    rollout = Rollout.objects.filter(run=run).first()
    champion, shadows = deployment.champion.version, [one.version for one in deployment.shadows.all()]
    share = deployment.canary_weight
    assert (deployment.canary is None) == (share is None)
    if rollout is None:
        assert (champion, share, shadows) == ("1", None, ["2"] if run.state in ACTIVE_STATES else [])
    elif run.state not in ACTIVE_STATES:
        assert (share, shadows, rollout.weight) == (None, [], float(champion == "2"))
        if run.state != "failed":  # five kills in a row end any step, also that after the promotion
            assert champion == ("2" if run.state == "promoted" else "1")
    elif rollout.state == "watching":
        assert (champion, share, shadows) == ("2", None, ["1"])
        assert rollout.weight == 1.0
    else:
        assert (champion, shadows) == ("1", [])
        assert deployment.canary.version == "2"
        assert share == rollout.weight
    generations = DeploymentChange.objects.filter(model=world.model).values_list("generation", flat=True)
    assert len(set(generations)) == len(generations)


def take_over(world: RolloutWorld) -> None:
    """Let another worker find the run free, as it does when the lease of a killed one has run out.

    Whatever it changed was published by then.
    """
    UnpublishedChange.objects.all().delete()
    Run.objects.filter(pk=world.run.pk).update(lease_until=Now() - timedelta(seconds=1))
    Rollout.objects.filter(run=world.run).update(next_check_at=Now() - timedelta(seconds=1))


def do_something(world: RolloutWorld, chance: random.Random, *, harmless: bool) -> str:
    """Send traffic, let time pass, or do what a person may do; `harmless` is what no rollout is taken back for."""
    rollout = Rollout.objects.filter(run=world.run).first()
    if rollout is None:
        return "nothing"
    person = {"run": world.run, "actor": "ada"}
    kinds = ["traffic", "time", "pause", "resume", "failures", "roll back"]
    kind = chance.choices(kinds, [20, 10, 2, 4, *((0, 0) if harmless else (1, 0.3))])[0]
    match kind, rollout.state:
        case "traffic", "watching":
            world.send_pairs(60)
        case "traffic", _:
            world.send(150, 120)
        case "failures", ("progressing" | "paused"):
            world.send(60, 40, failed=30)
        case "time", _:
            world.let_pass(900)
        case "pause", "progressing":
            pause_rollout(**person)
        case "resume", ("paused" | "watching"):
            resume_rollout(**person)
        case "roll back", _:
            roll_back_run(**person)
        case _:
            return "nothing"
    return kind


def finish(world: RolloutWorld) -> None:
    """Take a run that outlived the kills to its end, with healthy traffic and nobody who disturbs it."""
    for _ in range(30):
        if Run.objects.get(pk=world.run.pk).state not in ACTIVE_STATES:
            return
        rollout = Rollout.objects.filter(run=world.run).first()
        if rollout is None or rollout.state == "progressing":
            world.send(150, 120)
        elif rollout.state == "paused":
            resume_rollout(run=world.run, actor="ada")
        elif rollout.state == "watching":
            world.send_pairs(60)
        world.let_pass(3_600)
        take_over(world)
        world.advance()
        check_invariants(world)
    raise AssertionError(f"the run did not end: {Rollout.objects.get(run=world.run).state}")


def play(kills: int, seed: int) -> Counter[str]:
    """Kill workers of one run after another, every second with a healthy challenger; return how the runs ended."""
    chance, ends, number = random.Random(seed), Counter[str](), 0
    while kills:
        number += 1
        point = transaction.savepoint_create()
        world = run_after_gate(Project.objects.create(slug=f"bank-{number}", name="Bank"))
        for _ in range(chance.randrange(60)):
            if Run.objects.get(pk=world.run.pk).state not in ACTIVE_STATES or not kills:
                break
            do_something(world, chance, harmless=number % 2 == 0)
            check_invariants(world)
            if Run.objects.get(pk=world.run.pk).state in ACTIVE_STATES:
                take_over(world)
                with killed_at(chance.randrange(1, MAX_STATEMENTS)):
                    advance(run_id=world.run.pk)
                kills -= 1
            check_invariants(world)
        finish(world)
        ends[Run.objects.get(pk=world.run.pk).state] += 1
        transaction.savepoint_rollback(point)
    return ends


def test_60_kills_leave_one_champion_and_one_weight() -> None:
    assert play(60, seed=random.randrange(10**6))


@pytest.mark.e2e
def test_1_000_kills_leave_one_champion_and_one_weight(
    record_property: Callable[[str, object], None],
) -> None:
    seed = random.randrange(10**6)

    ends = play(1_000, seed)

    record_property("ends", dict(ends))
    print(f"1,000 kills with seed {seed}: {dict(ends)}")
    assert ends["promoted"]
    assert ends["rolled_back"]
