"""The ticks of the clock, with more waiting than workers can do until the next."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from driftline import tasks
from driftline.base.accounts.models import Invitation, Project
from driftline.base.work.task_queue import Task
from driftline.base.work.work_rows import touch
from driftline.operations import long_work
from driftline.sign_in.invitations import VALID_FOR
from inference.registry.models import Model
from monitors.alerts.models import Channel, ChannelTimer, Incident
from monitors.metrics.rows.ended_days import all_days_to_read
from monitors.metrics.store.models import PendingEvaluation, SegmentSearch, UnreadDay

type Capture = Callable[[], AbstractContextManager[list[Callable[[], None]]]]


START_CLOCK = """
from celery.beat import PersistentScheduler
from driftline.celery import app
PersistentScheduler(app, schedule_filename=app.conf.beat_schedule_filename, lazy=False).close()
"""


class TestClock:
    def test_starts_in_a_home_that_no_other_command_has_prepared(self, tmp_path: Path) -> None:
        environment = os.environ | {"DRIFTLINE_HOME": str(tmp_path / "home")}

        ending = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", START_CLOCK],
            env=environment,
            capture_output=True,
            text=True,
        )

        assert ending.returncode == 0, ending.stderr


class TestSweep:
    def test_enqueues_tasks_for_those_that_wait_longest_and_for_the_others_later(
        self, db: None, django_capture_on_commit_callbacks: Capture
    ) -> None:
        project = Project.objects.create(slug="fleet", name="Fleet")
        models = [
            Model.objects.create(project=project, name=f"model-{number}", task="binary")
            for number in range(tasks.MAX_TASKS + 3)
        ]
        touch(PendingEvaluation, [(model.pk,) for model in models], fields=("model_id",))
        oldest = models[-tasks.MAX_TASKS :]
        waiting = PendingEvaluation.objects.filter(model__in=oldest)
        waiting.update(touched_at=timezone.now() - timedelta(minutes=1))

        with django_capture_on_commit_callbacks() as first:
            tasks.sweep()
        waiting.delete()
        with django_capture_on_commit_callbacks() as second:
            tasks.sweep()

        assert (len(first), len(second)) == (tasks.MAX_TASKS, 3)

    def test_enqueues_letters_of_invitations_that_got_lost(
        self, db: None, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.EMAIL_URL = "smtp://mail.example.com"
        enqueued: list[tuple[str, Any]] = []
        monkeypatch.setattr(tasks, "enqueue", lambda task, **what: enqueued.append((task, what)))
        project = Project.objects.create(slug="fleet", name="Fleet")
        lost = Invitation.objects.create(
            project=project, email="guest@shop.example", role="viewer", created_by="test",
            expires_at=timezone.now() + VALID_FOR - timedelta(minutes=5),
        )  # fmt: skip

        tasks.sweep()

        assert (Task.SEND_INVITATION, {"invitation_id": lost.pk}) in enqueued

    def test_enqueues_notifications_once_some_are_due(
        self, db: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        enqueued: list[str] = []
        monkeypatch.setattr(tasks, "enqueue", lambda task, **what: enqueued.append(task))
        project = Project.objects.create(slug="fleet", name="Fleet")
        model = Model.objects.create(project=project, name="churn", task="binary")
        incident = Incident.objects.create(
            project=project, model=model, title="Worse", severity="critical", since=timezone.now(),
            opened_at=timezone.now(),
        )  # fmt: skip
        channel = Channel.objects.create(project=project, kind="email", name="mail", target="a@x.example")
        timer = ChannelTimer.objects.create(
            incident=incident, channel=channel, due_at=timezone.now() + timedelta(hours=1)
        )

        tasks.sweep()
        ChannelTimer.objects.filter(pk=timer.pk).update(due_at=timezone.now() - timedelta(hours=1))
        before = list(enqueued)
        tasks.sweep()

        assert (before, enqueued) == ([], ["monitors.notify"])

    def test_enqueues_long_work_and_not_for_a_day_before_it_has_ended(
        self, db: None, django_capture_on_commit_callbacks: Capture
    ) -> None:
        project = Project.objects.create(slug="fleet", name="Fleet")
        early, late, today = (
            Model.objects.create(project=project, name=name, task="binary")
            for name in ("early", "late", "today")
        )
        day = timezone.now() - timedelta(days=2)
        UnreadDay.objects.bulk_create([UnreadDay(model=late, start=day), UnreadDay(model=early, start=day)])
        UnreadDay.objects.filter(model=early).update(touched_at=day)
        UnreadDay.objects.create(model=today, start=timezone.now() - timedelta(hours=1))

        to_read = all_days_to_read(timezone.now()).values_list("model", flat=True)
        assert set(to_read) == {early.pk, late.pk}
        with django_capture_on_commit_callbacks() as enqueued:
            tasks.sweep()
        UnreadDay.objects.exclude(model=today).delete()
        with django_capture_on_commit_callbacks() as enqueued_without:
            tasks.sweep()

        assert (len(enqueued), len(enqueued_without)) == (tasks.MAX_LONG_TASKS, 0)

    def test_enqueues_tasks_for_the_models_of_projects_in_turns(
        self, db: None, django_capture_on_commit_callbacks: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One project's crowd of models waited first; another project's only one has its task beside its first."""
        enqueued: list[int] = []
        monkeypatch.setattr(tasks, "enqueue", lambda task, **what: enqueued.append(what["model_id"]))
        crowd, small = (Project.objects.create(slug=slug, name=slug) for slug in ("crowd", "small"))
        many = [
            Model.objects.create(project=crowd, name=f"model-{number}", task="binary")
            for number in range(tasks.MAX_TASKS + 1)
        ]
        only = Model.objects.create(project=small, name="only", task="binary")
        touch(PendingEvaluation, [(model.pk,) for model in (*many, only)], fields=("model_id",))
        PendingEvaluation.objects.exclude(model=only).update(touched_at=timezone.now() - timedelta(hours=1))

        tasks.sweep()

        assert only.pk in enqueued[:2]


def _note(done: list[str], name: str, _: int) -> None:
    done.append(name)


class TestLongWork:
    def test_that_somebody_waits_for_comes_before_days_that_ended_until_these_have_waited_for_ten_minutes(
        self, db: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A reference that takes 13 s was built after 300 s, behind the classifiers of other models."""
        done: list[str] = []
        kinds = [kind for kind in long_work.kinds() if kind.name in ("ended day", "segment search")]
        monkeypatch.setattr(
            long_work,
            "KINDS",
            [replace(kind, work=partial(_note, done, kind.name)) for kind in kinds],
        )
        fleet, small = (Project.objects.create(slug=slug, name=slug) for slug in ("fleet", "small"))
        many, one = (Model.objects.create(project=owner, name="m", task="binary") for owner in (fleet, small))
        day, moment = timezone.now() - timedelta(days=2), timezone.now()
        UnreadDay.objects.create(model=many, start=day, touched_at=moment - timedelta(minutes=8))
        SegmentSearch.objects.create(
            model=one, start=day, end=moment, requested_by="ada", touched_at=moment - timedelta(seconds=1)
        )

        long_work.run_next()
        UnreadDay.objects.update(touched_at=moment - timedelta(minutes=11))
        long_work.run_next()

        assert done == ["segment search", "ended day"]
