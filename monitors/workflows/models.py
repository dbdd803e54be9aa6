"""Retrain-and-redeploy: what a model's workflow is, and each run with its steps."""

from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from driftline.common.lease import Leasable
from driftline.common.work import WorkQuerySet
from inference.registry.models import Model, Version
from monitors.rules.models import Transition


class Workflow(models.Model):
    """How a model is retrained and what a challenger must show."""

    model = models.OneToOneField(Model, models.CASCADE, related_name="workflow")
    trainer = models.CharField(max_length=100, default="sklearn_random_forest")
    parameters = models.JSONField(default=dict, blank=True)
    training_days = models.IntegerField(
        null=True, blank=True, help_text="newest days to train on; empty uses all"
    )
    min_training_rows = models.IntegerField(default=1000)
    pairs = models.IntegerField(default=2000, help_text="labelled pairs after which the gate first judges")
    max_pairs = models.IntegerField(
        default=6000, help_text="labelled pairs after which an inconclusive run is rejected"
    )
    gate = models.JSONField(
        default=dict, blank=True, help_text="margins of the gate; see stats/promotion/gate.py"
    )
    max_runs_a_day = models.IntegerField(default=1, help_text="that nobody starts by hand; of event time")
    cooldown_hours = models.IntegerField(
        default=0, help_text="between the starts of two runs that nobody starts by hand"
    )
    schedule = models.CharField(
        max_length=100, blank=True, default="", help_text="cron's five fields; empty starts none"
    )
    schedule_zone = models.CharField(max_length=64, default="UTC", help_text="a name of the IANA database")
    every_labels = models.IntegerField(
        null=True,
        blank=True,
        help_text="labelled rows of days after the newest training that start a run; empty starts none",
    )
    next_start_at = models.DateTimeField(null=True, blank=True, editable=False)
    labels_since = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="event time from which labelled rows count as new"
    )
    labels_rest_until = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="after a start that was refused"
    )

    def __str__(self) -> str:
        return f"workflow of {self.model}"

    @classmethod
    def of(cls, model: Model) -> Self:
        """Read how a model is retrained; the defaults where nothing was set."""
        return cls.objects.filter(model=model).first() or cls(model=model)


class RunState(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting", "waiting for traffic or a person"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ROLLED_BACK = "rolled_back"


ACTIVE_STATES = (RunState.QUEUED, RunState.RUNNING, RunState.WAITING)


class Run(Leasable):
    """One attempt to repair a model; a row that a worker leases, and whose steps are idempotent."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="runs")
    transition = models.ForeignKey(Transition, models.SET_NULL, null=True, blank=True, related_name="runs")
    trigger = models.CharField(max_length=200, help_text="which rule or person started it")
    state = models.CharField(max_length=12, choices=RunState, default=RunState.QUEUED)
    data_until = models.DateTimeField(help_text="event time up to which the run may look at data")
    champion = models.ForeignKey(Version, models.PROTECT, related_name="+", help_text="the version to beat")
    challenger = models.ForeignKey(Version, models.SET_NULL, null=True, blank=True, related_name="+")
    waiting_for = models.CharField(max_length=200, blank=True)
    needs = models.CharField(
        max_length=10,
        blank=True,
        help_text="what a waiting run waits for: traffic or person; empty while it can go on",
    )
    verdict = models.JSONField(null=True, blank=True)
    approved_by = models.CharField(max_length=200, blank=True)
    is_automatic = models.BooleanField(
        default=False, db_default=False, help_text="started by a rule, a schedule or new labels, not by hand"
    )
    request_key = models.CharField(
        max_length=255,
        blank=True,
        db_default="",
        default="",
        help_text="the Idempotency-Key of who started it",
    )
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True, blank=True)
    generation = models.BigIntegerField(
        default=1, help_text="grows when something happened that the run should see"
    )

    objects = WorkQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model"],
                condition=Q(state__in=["queued", "running", "waiting"]),
                name="one_active_run_a_model",
            ),
            models.UniqueConstraint(fields=["transition"], name="one_run_a_transition"),
            models.UniqueConstraint(
                fields=["model", "request_key"], condition=~Q(request_key=""), name="one_run_a_request_key"
            ),
        ]

    def __str__(self) -> str:
        return f"run {self.pk} of {self.model}"


class Step(models.Model):
    """One step of a run with what it found; who brings a challenger along skips the steps that would make one."""

    class State(models.TextChoices):
        PENDING = "pending"
        RUNNING = "running"
        WAITING = "waiting"
        DONE = "done"
        FAILED = "failed"
        SKIPPED = "skipped"

    OVER = (State.DONE, State.SKIPPED)

    run = models.ForeignKey(Run, models.CASCADE, related_name="steps")
    position = models.IntegerField()
    name = models.CharField(max_length=20)
    state = models.CharField(max_length=8, choices=State, default=State.PENDING)
    attempts = models.IntegerField(default=0)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    evidence = models.JSONField(default=dict)
    error = models.TextField(blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "name"], name="one_step_a_name")]

    def __str__(self) -> str:
        return f"{self.name} of run {self.run_id}"
