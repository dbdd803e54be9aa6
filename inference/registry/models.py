"""What is served: models, their versions and data sets, and which version answers."""

from typing import ClassVar, Self

from django.db import models
from django.db.models.functions import Now

from driftline.accounts.models import Project


class Task(models.TextChoices):
    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"
    RANKING = "ranking"


class Autonomy(models.TextChoices):
    """How far automation may go by itself (promise 12)."""

    SUGGEST = "suggest", "Suggest: a person starts each run"
    APPROVE = "approve", "Approve: runs start by themselves, a person promotes"
    AUTO = "auto", "Auto: runs start and promote by themselves"


class ModelQuerySet(models.QuerySet["Model"]):
    def of_project(self, project: Project) -> Self:
        return self.filter(project=project)


class Model(models.Model):
    """A question that is answered by one of several versions."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="models")
    name = models.CharField(max_length=100)
    task = models.CharField(max_length=10, choices=Task)
    description = models.CharField(max_length=500, blank=True)
    autonomy = models.CharField(max_length=10, choices=Autonomy, default=Autonomy.APPROVE)
    objectives = models.JSONField(
        default=dict,
        blank=True,
        help_text="latency_p99_ms, requests_per_second, quality {metric, floor}, label_lag_hours",
    )
    created_at = models.DateTimeField(db_default=Now())

    objects: ClassVar[ModelQuerySet] = ModelQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="model_name_once_a_project")]

    def __str__(self) -> str:
        return self.name


class Version(models.Model):
    """One artifact of a model, or an external version that another server answers (no artifact)."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="versions")
    version = models.CharField(max_length=64)
    sha256 = models.CharField(max_length=64, blank=True)
    size = models.BigIntegerField(default=0)
    path = models.CharField(max_length=200, blank=True, help_text="relative to the home")
    signature = models.JSONField(null=True, blank=True)
    intake_report = models.JSONField(null=True, blank=True)
    lineage = models.JSONField(
        default=dict, blank=True, help_text="data window, trainer, parameters, parent version, trigger"
    )
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "version"], name="version_once_a_model")]

    def __str__(self) -> str:
        return f"{self.model} {self.version}"

    @property
    def is_external(self) -> bool:
        return not self.sha256


class Deployment(models.Model):
    """Which version answers and which get a copy; `generation` grows with every change."""

    model = models.OneToOneField(Model, models.CASCADE, related_name="deployment")
    champion = models.ForeignKey(Version, models.PROTECT, null=True, blank=True, related_name="+")
    previous = models.ForeignKey(Version, models.PROTECT, null=True, blank=True, related_name="+")
    shadows = models.ManyToManyField(Version, blank=True, related_name="+")
    generation = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.model} at generation {self.generation}"


class DeploymentChange(models.Model):
    """One change of a deployment: the mark on every time axis, and the audit row of who did it and why."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="deployment_changes")
    generation = models.BigIntegerField()
    kind = models.CharField(max_length=20, help_text="first, promote, rollback, shadows")
    before = models.JSONField()
    after = models.JSONField()
    at = models.DateTimeField(db_default=Now())
    event_time = models.DateTimeField(help_text="newest event time of the model when it happened")
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=500, blank=True)

    class Meta:
        indexes = [models.Index(fields=["model", "event_time"], name="deployment_changes_in_time")]

    def __str__(self) -> str:
        return f"{self.model}: {self.kind} at generation {self.generation}"


class Dataset(models.Model):
    """A stored table, as Parquet: a reference or a training snapshot."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="datasets")
    version = models.ForeignKey(Version, models.SET_NULL, null=True, blank=True, related_name="datasets")
    kind = models.CharField(
        max_length=12, choices=[("reference", "Reference"), ("snapshot", "Training snapshot")]
    )
    path = models.CharField(max_length=200, help_text="relative to the home")
    sha256 = models.CharField(max_length=64)
    rows = models.BigIntegerField()
    columns = models.JSONField()
    start = models.DateTimeField(null=True, blank=True)
    end = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.kind} of {self.model}, {self.rows:,} rows"


class PlanGeneration(models.Model):
    """The number of the newest serving plan; its one row also orders the writers of the plan file."""

    value = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.value)
