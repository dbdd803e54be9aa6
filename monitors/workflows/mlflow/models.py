"""Which MLflow registry a model follows, the versions that came from it, and what is reported back."""

from typing import Self
from urllib.parse import quote

from django.db import models
from django.db.models.functions import Now

from driftline.base.keys.sealed_field import SealedField
from driftline.base.work.leased_work import LeasedQuerySet
from inference.registry.models import Model, Version
from monitors.workflows.models import Run
from monitors.workflows.starting.patience import PatientWork


class MlflowConnectionQuerySet(models.QuerySet["MlflowConnection"]):
    def due(self) -> Self:
        """Select those of which the registry is to be asked now."""
        return self.filter(next_poll_at__lte=Now(), model__archived_at=None)


class MlflowConnection(models.Model):
    """The registered model of an MLflow server that a model follows."""

    model = models.OneToOneField(Model, models.CASCADE, related_name="mlflow")
    url = models.CharField(max_length=500, help_text="of the tracking server")
    registered_model = models.CharField(max_length=250)
    alias = models.CharField(max_length=255, default="challenger", help_text="the one that is followed")
    secret = SealedField(default=b"", blank=True, help_text="encrypted; empty where none is set")
    polls = models.BooleanField(default=True, help_text="ask every minute, beside what webhooks say")
    next_poll_at = models.DateTimeField(null=True, blank=True, help_text="empty: a webhook says when")
    polled_at = models.DateTimeField(null=True, blank=True, help_text="when MLflow last answered")
    poll_error = models.CharField(max_length=500, blank=True, help_text="why the last question failed")
    alias_version = models.CharField(
        max_length=20, blank=True, help_text="the version to which the alias points, as MLflow last answered"
    )
    webhook_token = models.CharField(max_length=64, unique=True, help_text="the last part of its address")
    webhook_secret = SealedField(help_text="encrypted; what webhooks are signed with")
    previous_webhook_secret = SealedField(
        default=b"", db_default=b"", blank=True, help_text="the webhook's secret before, encrypted"
    )
    previous_webhook_secret_until = models.DateTimeField(
        null=True, blank=True, help_text="when webhooks that are signed with it are refused"
    )
    webhook_at = models.DateTimeField(null=True, blank=True, help_text="when one with a good signature came")

    objects = MlflowConnectionQuerySet.as_manager()

    def __str__(self) -> str:
        return f"MLflow connection of {self.model}"


class MlflowDelivery(models.Model):
    """A webhook that was taken, so that it counts once."""

    connection = models.ForeignKey(MlflowConnection, models.CASCADE, related_name="deliveries")
    delivery_id = models.CharField(max_length=100)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "MLflow deliveries"
        constraints = [
            models.UniqueConstraint(fields=["connection", "delivery_id"], name="mlflow_delivery_once")
        ]

    def __str__(self) -> str:
        return f"delivery {self.delivery_id}"


class MlflowVersion(PatientWork):
    """A version of a registered model that the followed alias pointed to; it is taken once."""

    class State(models.TextChoices):
        WAITING = "waiting"
        COMPARED = "compared", "a run compares it"
        CHAMPION = "champion", "it was or became the champion without a run"
        SUPERSEDED = "superseded", "the alias moved on before a run could start"
        FAILED = "failed"

    UNFINISHED = (State.WAITING,)

    model = models.ForeignKey(Model, models.CASCADE, related_name="mlflow_versions")
    url = models.CharField(max_length=500, help_text="of the tracking server")
    registered_model = models.CharField(max_length=250)
    number = models.CharField(max_length=20, help_text="of MLflow")
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    version = models.ForeignKey(
        Version, models.SET_NULL, null=True, blank=True, related_name="mlflow_versions"
    )
    run = models.ForeignKey(Run, models.SET_NULL, null=True, blank=True, related_name="mlflow_versions")
    created_at = models.DateTimeField(db_default=Now())

    objects = LeasedQuerySet.as_manager()

    class Meta:
        verbose_name = "MLflow version"
        constraints = [
            models.UniqueConstraint(
                fields=["model", "url", "registered_model", "number"], name="mlflow_version_once"
            )
        ]

    def __str__(self) -> str:
        return f"version {self.number} of {self.registered_model} in MLflow"

    @property
    def page(self) -> str:
        """The address of the version in MLflow."""
        return f"{self.url}/#/models/{quote(self.registered_model, safe='')}/versions/{self.number}"


class MlflowReport(PatientWork):
    """What MLflow is to know of a version: how its run ended, and whether it is the champion now."""

    class State(models.TextChoices):
        WAITING = "waiting"
        SENT = "sent"
        FAILED = "failed"

    UNFINISHED = (State.WAITING,)

    taken = models.OneToOneField(MlflowVersion, models.CASCADE, related_name="report")
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)

    objects = LeasedQuerySet.as_manager()

    class Meta:
        verbose_name = "MLflow report"

    def __str__(self) -> str:
        return f"report on {self.taken}"
