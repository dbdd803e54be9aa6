"""An erasure: one person whose data go from everywhere, how far that is, and the receipt that stays."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from driftline.base.accounts.models import Project
from driftline.base.keys.sealed_field import SealedField
from driftline.base.work.leased_work import LeasedQuerySet, LeasedWork


class Erasure(LeasedWork):
    """The receipt of one erasure. The subject's key is in it as a keyed hash only, and sealed until it is done."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        WAITING = "waiting"
        DONE = "done"
        FAILED = "failed"

    UNFINISHED = (State.QUEUED, State.RUNNING, State.WAITING)

    project = models.ForeignKey(Project, models.CASCADE, related_name="erasures")
    key_hash = models.CharField(max_length=64, help_text="HMAC-SHA256 of the project and the subject's key")
    state = models.CharField(max_length=8, choices=State, default=State.QUEUED)
    waiting_for = models.CharField(max_length=200, blank=True)
    sealed = SealedField(null=True, help_text="the key and the rows found, encrypted; empty when it is done")
    progress = models.JSONField(
        default=dict, help_text="the steps that are done, and where the present one is"
    )
    counts = models.JSONField(default=dict, help_text="what was erased, by place")
    remains = models.JSONField(
        default=list,
        help_text="names of models with summaries that count dropped rows: nobody can be taken out of them",
    )
    requested_by = models.CharField(max_length=200)
    requested_at = models.DateTimeField(db_default=Now())

    objects = LeasedQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "key_hash"],
                condition=~Q(state="done"),
                name="one_unfinished_erasure_a_key",
            )
        ]

    def __str__(self) -> str:
        return f"erasure {self.pk}"
