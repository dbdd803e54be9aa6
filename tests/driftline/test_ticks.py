"""The ticks of the clock, with more waiting than workers can do until the next."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

from django.utils import timezone

from driftline import tasks
from driftline.accounts.models import Project
from driftline.common.work import touch
from inference.registry.models import Model
from monitors.metrics.models import PendingEvaluation, UnreadDay
from monitors.metrics.rows.ended_days import models_to_read

type Capture = Callable[[], AbstractContextManager[list[Callable[[], None]]]]


class TestSweep:
    def test_rings_for_those_that_wait_longest_and_for_the_others_later(
        self, db: None, django_capture_on_commit_callbacks: Capture
    ) -> None:
        project = Project.objects.create(slug="fleet", name="Fleet")
        models = [
            Model.objects.create(project=project, name=f"model-{number}", task="binary")
            for number in range(tasks.MOST_RUNG + 3)
        ]
        touch(PendingEvaluation, [(model.pk,) for model in models], fields=("model_id",))
        oldest = models[-tasks.MOST_RUNG :]
        waiting = PendingEvaluation.objects.filter(model__in=oldest)
        waiting.update(touched_at=timezone.now() - timedelta(minutes=1))

        with django_capture_on_commit_callbacks() as first:
            tasks.sweep()
        waiting.delete()
        with django_capture_on_commit_callbacks() as second:
            tasks.sweep()

        assert (len(first), len(second)) == (tasks.MOST_RUNG, 3)

    def test_rings_for_one_model_a_time_whose_day_is_to_be_compared_and_not_before_it_has_ended(
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

        assert models_to_read(timezone.now()) == [early.pk, late.pk]
        with django_capture_on_commit_callbacks() as rung:
            tasks.sweep()

        assert len(rung) == 1
