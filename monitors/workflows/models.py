"""Retrain-and-redeploy: what a model's workflow is, and each run with its steps."""

from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from driftline.base.keys.sealed_field import SealedField
from driftline.base.work.lease import Leasable
from driftline.base.work.work_rows import WorkQuerySet
from inference.registry.models import Model, Version
from monitors.rules.models import Transition
from monitors.workflows.rollouts.plan import staged_plan


class Workflow(models.Model):
    """How a model is retrained and what a challenger must show."""

    model = models.OneToOneField(Model, models.CASCADE, related_name="workflow")
    trainer = models.CharField(max_length=100, default="sklearn_random_forest")
    parameters = models.JSONField(default=dict, blank=True)
    training_days = models.IntegerField(
        null=True, blank=True, help_text="newest days to train on; empty uses all"
    )
    min_training_rows = models.IntegerField(default=1000)
    memory_mb = models.IntegerField(
        null=True, blank=True, help_text="that a training may use; empty: 4096, or all that the machine has"
    )
    pairs = models.IntegerField(default=2000, help_text="labelled pairs after which the gate first judges")
    max_pairs = models.IntegerField(
        default=6000, help_text="labelled pairs after which an inconclusive run is rejected"
    )
    gate = models.JSONField(
        default=dict, blank=True, help_text="margins of the gate; see stats/promotion/gate.py"
    )
    rollout = models.JSONField(
        default=staged_plan, help_text="how a challenger takes over; see workflows/rollouts/plan.py"
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
    on_new_reference = models.BooleanField(
        default=False, db_default=False, help_text="starts a run when the champion's reference is replaced"
    )
    reference_seen = models.BigIntegerField(
        default=0, db_default=0, editable=False, help_text="newest reference that could start a run"
    )
    remote = models.JSONField(
        default=dict,
        blank=True,
        help_text="the pipeline that the trainer `remote` starts: kind, url, options",
    )
    remote_secret = SealedField(default=b"", blank=True, help_text="encrypted; empty where none is set")
    training_hours = models.IntegerField(default=24, help_text="that a pipeline may take")
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
        help_text="what a waiting run waits for: traffic, person or pipeline; empty while it can go on",
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


class Rollout(models.Model):
    """How far the challenger of a run has taken over, and what was found on the way.

    It is written with the run's lease, or by a person who has locked the run.
    """

    class State(models.TextChoices):
        PROGRESSING = "progressing"
        PAUSED = "paused"
        WATCHING = "watching", "promoted, and watched beside the old champion"
        SUCCEEDED = "succeeded"
        ABORTED = "aborted"

    run = models.OneToOneField(Run, models.CASCADE, related_name="rollout")
    plan = models.JSONField(help_text="as it was when the rollout began")
    state = models.CharField(max_length=11, choices=State, default=State.PROGRESSING)
    position = models.IntegerField(
        default=0, help_text="which step of the plan; their number after the promotion"
    )
    weight = models.FloatField(default=0, help_text="the share of keys that the challenger answers")
    paused_by = models.CharField(max_length=200, blank=True, help_text="the person who paused it, if one did")
    is_allowed = models.BooleanField(
        default=False, help_text="a person lets it go on from this step, whatever is not known yet"
    )
    since = models.DateTimeField(help_text="when the weight was set")
    events_since = models.DateTimeField(help_text="the newest event time at that moment")
    next_check_at = models.DateTimeField()
    refusals = models.IntegerField(default=0, help_text="how often in a row a hook did not agree")
    refusal = models.CharField(max_length=400, blank=True, default="", help_text="what the hook answered")
    checked = models.IntegerField(default=0, help_text="how many checks there were")
    label_looks = models.IntegerField(default=0, help_text="how many of them judged labels")
    labels_until = models.DateTimeField(
        null=True, blank=True, help_text="event time up to which labels were judged"
    )
    watched_until = models.DateTimeField(
        null=True, blank=True, help_text="event time at which the watch ended; its labels may still come"
    )
    counted = models.JSONField(default=dict, help_text="requests of both sides when the step began")
    earlier = models.JSONField(default=list, help_text="requests and failures of the steps before")
    usual = models.JSONField(default=dict, help_text="how the outputs differed in the shadow")
    history = models.JSONField(default=list, help_text="each weight, and why it was set")
    checks = models.JSONField(default=list, help_text="the newest checks with their verdicts")
    repair = models.JSONField(null=True, blank=True, help_text="the paired difference after the promotion")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(weight__gte=0, weight__lte=1), name="rollout_weight_is_a_share"
            )
        ]

    def __str__(self) -> str:
        return f"rollout of run {self.run_id} at {self.weight:.0%}"

    @property
    def newest_check(self) -> dict[str, Any] | None:
        """What the guards found when they last looked; a look of the watch has none."""
        return next((check for check in reversed(self.checks) if check["guards"]), None)

    @property
    def answered(self) -> dict[str, int]:
        """How many rows, keys and requests the challenger had answered in its step at the newest check, if any."""
        newest = self.newest_check
        return {unit: newest.get(unit, 0) for unit in ("rows", "keys", "requests")} if newest else {}


class RemoteTrainingQuerySet(models.QuerySet["RemoteTraining"]):
    def due_to_stop(self) -> Self:
        """Select those of which the service's run is to be ended now."""
        return self.filter(stops_left__gt=0, next_stop_at__lte=Now())

    def with_parts_to_remove(self) -> Self:
        """Select those of which the parts in the snapshot store are to be removed now."""
        return self.filter(remove_parts_at__lte=Now()).exclude(parts_url="")


class RemoteTraining(models.Model):
    """A run's training elsewhere: what the pipeline was sent, and what it has answered so far."""

    run = models.OneToOneField(Run, models.CASCADE, related_name="remote_training")
    remote = models.JSONField(help_text="the pipeline as it was set when the run came to it")
    token_nonce = models.CharField(
        max_length=64, help_text="what the token is derived from, with our own key"
    )
    token_digest = models.CharField(max_length=64, unique=True)
    snapshot = models.JSONField(
        help_text="sha256, rows and columns of the file that is handed out; sha256 and rows of its parts"
    )
    parts_url = models.CharField(
        max_length=500, blank=True, default="", db_default="",
        help_text="the folder of the snapshot store that has the parts; empty where there is none any more",
    )  # fmt: skip
    parts_stored_at = models.DateTimeField(null=True, blank=True)
    remove_parts_at = models.DateTimeField(
        null=True, blank=True, help_text="when the parts are removed from the store, or that is tried again"
    )
    parameters = models.JSONField(
        default=dict, blank=True, help_text="of the workflow when the run came to it"
    )
    deadline = models.DateTimeField()
    downloaded_at = models.DateTimeField(
        null=True, blank=True, help_text="when the snapshot was first handed out"
    )

    failed_starts = models.IntegerField(default=0)
    next_start_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    external_id = models.CharField(max_length=200, blank=True, help_text="what the service calls its run")
    asked_at = models.DateTimeField(null=True, blank=True, help_text="when the service was last asked")
    ended_at = models.DateTimeField(
        null=True, blank=True, help_text="since when the service says that its run has ended"
    )
    next_stop_at = models.DateTimeField(null=True, blank=True)
    stops_left = models.IntegerField(default=0, help_text="tries to end the service's run; 0: nothing to end")

    heard_at = models.DateTimeField(null=True, blank=True, help_text="when the pipeline last called")
    progress = models.FloatField(null=True, blank=True, help_text="share that is done, from 0 to 1")
    message = models.CharField(max_length=200, blank=True)
    failure = models.CharField(max_length=500, blank=True, help_text="why the pipeline gave up")
    artifact_tries = models.IntegerField(default=0, help_text="artifacts that the intake has opened")
    artifact_sha256 = models.CharField(max_length=64, blank=True)
    artifact_bytes = models.BigIntegerField(null=True, blank=True)
    artifact_at = models.DateTimeField(null=True, blank=True)
    metrics = models.JSONField(default=dict, blank=True, help_text="as the pipeline measured them")
    lineage_uri = models.CharField(max_length=500, blank=True)

    objects = RemoteTrainingQuerySet.as_manager()

    def __str__(self) -> str:
        return f"remote training of run {self.run_id}"

    @property
    def idempotency_key(self) -> str:
        """What makes the service start one run, however often it is asked.

        Two databases may count their runs alike and share a service, so the number alone is not enough.
        """
        return f"driftline-run-{self.run_id}-{self.token_digest[:12]}"
