"""An optimisation of a version, which a worker leases, and the variants that it found."""

from django.db import models
from django.db.models.functions import Now

from driftline.base.work.leased_work import LeasedQuerySet, LeasedWork
from inference.registry.models import Version


class Optimisation(LeasedWork):
    """The work of building and measuring every variant of one version; asked for again it is a next generation."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    UNFINISHED = (State.QUEUED, State.RUNNING)

    version = models.OneToOneField(Version, models.CASCADE, related_name="optimisation")
    state = models.CharField(max_length=8, choices=State, default=State.QUEUED)
    requested_by = models.CharField(max_length=200)
    requested_at = models.DateTimeField(db_default=Now())

    objects = LeasedQuerySet.as_manager()

    def __str__(self) -> str:
        return f"optimisation of {self.version}"


class Variant(models.Model):
    """One row of a version's table: what a kind of variant gains and costs, on the machine that measured it."""

    class Status(models.TextChoices):
        GAIN = "gain", "gain"
        NO_GAIN = "no_gain", "no gain"
        REFUSED = "refused", "refused"
        NOT_APPLICABLE = "not_applicable", "does not apply"

    version = models.ForeignKey(Version, models.CASCADE, related_name="variants")
    kind = models.CharField(max_length=20, help_text="see inference/runtime/variants")
    generation = models.BigIntegerField(help_text="of the optimisation that measured it")
    status = models.CharField(max_length=14, choices=Status)
    reason = models.TextField(help_text="sentences")
    sha256 = models.CharField(max_length=64, blank=True)
    size = models.BigIntegerField(null=True, blank=True, help_text="in bytes")
    path = models.CharField(max_length=200, blank=True, help_text="relative to the home; kept where it gains")
    measured = models.JSONField(
        null=True, blank=True, help_text="see Measured in monitors/optimiser/comparing.py"
    )
    machine = models.CharField(max_length=200)
    made_at = models.DateTimeField(db_default=Now())
    registered = models.ForeignKey(
        Version, models.SET_NULL, null=True, blank=True, related_name="+", help_text="the version made of it"
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "kind"], name="one_variant_a_kind")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.version}"
