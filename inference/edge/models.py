"""Devices, the groups that they are in, and the releases that bring versions to them."""

from datetime import datetime, timedelta
from typing import ClassVar, Self

from django.db import models
from django.db.models import Count, Prefetch, Q
from django.db.models.functions import Now

from driftline.base.accounts.models import Project
from inference.registry.models import Model, Version

_UNITS = (("days", 86_400_000), ("hours", 3_600_000), ("min", 60_000), ("s", 1_000))
CLOCK_STEP_MS = 1_000
"""A device reads our clock from the `Date` of an answer, which has whole seconds."""
LISTED_FAILURES = 5
"""Of so many devices of a release it is said why they failed."""
SILENT_AFTER = timedelta(hours=1)
"""A device that was not heard of for so long, since its ring began, is not waited for."""


class DeviceGroup(models.Model):
    """Devices that answer for one model with the same version; `generation` grows with every change of it."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="device_groups")
    model = models.ForeignKey(Model, models.CASCADE, related_name="device_groups")
    name = models.CharField(max_length=60)
    generation = models.BigIntegerField(default=1)
    sampling = models.FloatField(
        default=1.0, help_text="share of rows sent whole; of the rest, hourly summaries"
    )
    ask_below = models.FloatField(
        null=True, blank=True, help_text="devices ask the server where their model's confidence is lower"
    )
    ask_after_days = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="devices ask the server once their version was released so long ago"
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="device_group_once_a_project"),
            models.CheckConstraint(condition=Q(sampling__range=(0, 1)), name="sampling_is_a_share"),
            models.CheckConstraint(condition=Q(ask_below__range=(0, 1)), name="ask_below_is_a_share"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def asks_server(self) -> bool:
        """Whether its devices may have the server answer in their place."""
        return self.ask_below is not None or self.ask_after_days is not None


class DeviceQuerySet(models.QuerySet["Device"]):
    def active(self) -> Self:
        """Keep those that may still do something: enrolled ones, and those that are waited for."""
        return self.filter(revoked_at=None)

    def count_by_version(self) -> dict[str, int]:
        """Count the devices by the version that answers on them, empty for none; most devices first."""
        counts = self.order_by().values_list("version").annotate(devices=Count("pk"))
        return dict(counts.order_by("-devices", "version"))

    def heard_since(self, moment: datetime) -> Self:
        return self.filter(last_seen_at__gte=moment)


class Device(models.Model):
    """A machine with an agent. Of its code and its token only the SHA-256 is stored.

    Its name stays taken when it is revoked, because its predictions are called `<name>-<sequence>`.
    """

    project = models.ForeignKey(Project, models.CASCADE, related_name="devices")
    group = models.ForeignKey(DeviceGroup, models.CASCADE, related_name="devices")
    name = models.CharField(max_length=60)
    code_digest = models.CharField(max_length=64, blank=True, db_index=True)
    code_expires_at = models.DateTimeField(null=True, blank=True)
    token_digest = models.CharField(max_length=64, blank=True, db_index=True)
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.CharField(max_length=200)
    enrolled_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    next_sequence = models.BigIntegerField(default=1, help_text="above each sequence that it has sent")
    agent = models.CharField(max_length=60, blank=True, help_text="the agent's version")
    machine = models.CharField(max_length=60, blank=True, help_text="its system and processor")
    pinned_key = models.CharField(
        max_length=44, blank=True, default="", db_default="",
        help_text="public half of the signing key that it trusts; empty for the first one",
    )  # fmt: skip
    version = models.CharField(max_length=64, blank=True, help_text="the version that answers on it")
    runs_on = models.CharField(max_length=200, blank=True, help_text="which processor or provider runs it")
    failure = models.CharField(max_length=300, blank=True, help_text="why it refused what it was assigned")
    skew_ms = models.BigIntegerField(null=True, blank=True, help_text="how far its clock is behind ours")
    unsent_rows = models.BigIntegerField(null=True, blank=True)
    dropped_rows = models.BigIntegerField(null=True, blank=True, help_text="rows that it had no room for")

    objects: ClassVar[DeviceQuerySet] = DeviceQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="device_once_a_project")]

    def __str__(self) -> str:
        return self.name

    def state(self, now: datetime) -> str:
        """Return its state in one word: revoked, waiting, expired, failed, silent or active."""
        if self.revoked_at is not None:
            return "revoked"
        if self.enrolled_at is None:
            return "waiting" if self.code_expires_at and self.code_expires_at > now else "expired"
        if self.last_seen_at is None or self.last_seen_at < now - SILENT_AFTER:
            return "silent"
        return "failed" if self.failure else "active"

    @property
    def clock(self) -> str:
        """How far its clock is from the server's, in words; empty where nobody knows."""
        if self.skew_ms is None:
            return ""
        amount = abs(self.skew_ms)
        if amount < CLOCK_STEP_MS:
            return "within a second"
        unit, length_ms = next((one for one in _UNITS if amount >= 2 * one[1]), ("ms", 1))
        return f"{amount // length_ms:,} {unit} {'behind' if self.skew_ms >= 0 else 'ahead'}"


DEVICE_STATES = ("waiting", "expired", "active", "failed", "silent", "revoked")


class ReleaseState(models.TextChoices):
    RUNNING = "running"
    COMPLETED = "completed"
    ABORTED = "aborted"


class TargetState(models.TextChoices):
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class ReleaseQuerySet(models.QuerySet["Release"]):
    def with_counts(self) -> Self:
        """Count the devices of each release, all and by their state: `waiting`, `succeeded` and `failed`."""
        counts = {state.value: Count("targets", filter=Q(targets__state=state)) for state in TargetState}
        return self.annotate(devices=Count("targets"), **counts)

    def with_failures(self) -> Self:
        """Read the first `LISTED_FAILURES` devices of each release that failed, as `failures`, with their reasons."""
        failed = ReleaseTarget.objects.exclude(failure="").select_related("device")
        first = failed.order_by("reported_at", "pk")[:LISTED_FAILURES]
        return self.prefetch_related(Prefetch("targets", first, to_attr="failures"))


class Release(models.Model):
    """A version on its way to the devices of a group, ring by ring; the newest completed one is what a group has."""

    devices: int  # these are there after `with_counts`
    waiting: int
    succeeded: int
    failed: int
    failures: "list[ReleaseTarget]"  # after `with_failures`

    group = models.ForeignKey(DeviceGroup, models.CASCADE, related_name="releases")
    version = models.ForeignKey(Version, models.CASCADE, related_name="releases")
    rings = models.JSONField(help_text="shares of the devices in per cent, rising to 100")
    ring = models.PositiveSmallIntegerField(default=0, help_text="the place in rings that it has come to")
    ring_began_at = models.DateTimeField(db_default=Now())
    abort_share = models.FloatField(help_text="share of the ring's devices that may fail")
    state = models.CharField(max_length=10, choices=ReleaseState, default=ReleaseState.RUNNING)
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.CharField(max_length=200)
    ended_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=300, blank=True, help_text="why it was aborted")

    objects: ClassVar[ReleaseQuerySet] = ReleaseQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["group"], condition=Q(state=ReleaseState.RUNNING), name="one_running_release_a_group"
            )
        ]

    def __str__(self) -> str:
        return f"{self.version} to {self.group}"

    @property
    def percent(self) -> int:
        """The share of the devices that it has come to, in per cent."""
        return int(self.rings[self.ring])


class ReleaseTarget(models.Model):
    """A device of a release: the ring in which it gets the version, and what it reported."""

    release = models.ForeignKey(Release, models.CASCADE, related_name="targets")
    device = models.ForeignKey(Device, models.CASCADE, related_name="targets")
    ring = models.PositiveSmallIntegerField()
    state = models.CharField(max_length=10, choices=TargetState, default=TargetState.WAITING)
    failure = models.CharField(max_length=300, blank=True)
    reported_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["release", "device"], name="device_once_a_release")]

    def __str__(self) -> str:
        return f"{self.device} in ring {self.ring} of {self.release}"
