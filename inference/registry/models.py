"""What is served: models, their versions and data sets, and which version answers."""

from typing import ClassVar, Self

from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Now

from driftline.base.accounts.models import Project


class ModelTask(models.TextChoices):
    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"
    RANKING = "ranking"


class Autonomy(models.TextChoices):
    """How far automation may go by itself."""

    SUGGEST = "suggest", "Suggest: a person starts each run"
    APPROVE = "approve", "Approve: runs start by themselves, a person promotes"
    AUTO = "auto", "Auto: runs start and promote by themselves"


class SchemaPolicy(models.TextChoices):
    """What becomes of a logged item whose features are not those that its version declares."""

    LENIENT = "lenient", "Lenient: other features are taken"
    STRICT = "strict", "Strict: the item is refused"


class RowsKept(models.TextChoices):
    """Which rows of a model the log keeps after they are summarised."""

    ALL = "all", "All, for as long as the model keeps rows"
    NONE = "none", "None: each is dropped once it is summarised"


class ModelQuerySet(models.QuerySet["Model"]):
    def of_project(self, project: Project) -> Self:
        return self.filter(project=project)

    def listed(self) -> Self:
        """Leave out those that are archived."""
        return self.filter(archived_at=None)

    def matching(self, *, search: str = "", task: str = "", owner: str = "", tag: str = "") -> Self:
        """Keep the models with a text in their name, description, owner or tags, of a task, an owner and a tag."""
        found = self
        for word in search.split():
            found = found.filter(
                Q(name__icontains=word)
                | Q(description__icontains=word)
                | Q(owner__icontains=word)
                | Q(tags__icontains=word)
            )
        if task:
            found = found.filter(task=task)
        if owner:
            found = found.filter(owner=owner)
        return found.filter(tags__contains=[tag]) if tag else found


class Model(models.Model):
    """A question that is answered by one of several versions."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="models")
    name = models.CharField(max_length=100)
    task = models.CharField(max_length=10, choices=ModelTask)
    description = models.CharField(max_length=500, blank=True)
    owner = models.CharField(
        max_length=200, blank=True, db_default="", help_text="the person or team that answers for it"
    )
    tags = models.JSONField(
        default=list,
        blank=True,
        db_default=models.Value([], models.JSONField()),
        help_text="words to find it by, sorted",
    )
    autonomy = models.CharField(max_length=10, choices=Autonomy, default=Autonomy.APPROVE)
    objectives = models.JSONField(
        default=dict,
        blank=True,
        help_text="latency_p99_ms, requests_per_second, quality {metric, floor}, label_lag_hours",
    )
    retention_days = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="days that rows are kept, 0 for ever; empty: as DRIFTLINE_RETENTION_DAYS says",
    )
    summary_retention_days = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="days that summaries and points are kept, never less than the rows, 0 for ever; "
        "empty: as DRIFTLINE_SUMMARY_RETENTION_DAYS says",
    )
    privacy = models.JSONField(
        default=dict, blank=True, help_text="feature -> hash, drop or summary; what is not named is kept"
    )
    schema_policy = models.CharField(
        max_length=10,
        choices=SchemaPolicy,
        default=SchemaPolicy.LENIENT,
        db_default=SchemaPolicy.LENIENT,
        help_text="what becomes of a logged item with other features than its version declares",
    )
    text_features = models.JSONField(
        default=list,
        db_default=Value([], models.JSONField()),
        blank=True,
        help_text="features that are texts, of which lengths and scripts are compared",
    )
    thumbnail_share = models.FloatField(
        default=0.0,
        db_default=0.0,
        help_text="share of the rows that are images of which a thumbnail is kept with the row",
    )
    rows_kept = models.CharField(
        max_length=4,
        choices=RowsKept,
        default=RowsKept.ALL,
        db_default=RowsKept.ALL,
        help_text="which rows are kept after they are summarised",
    )
    archived_at = models.DateTimeField(
        null=True, blank=True, help_text="since when it is put aside: not listed, and its rules not judged"
    )
    created_at = models.DateTimeField(db_default=Now())

    objects: ClassVar[ModelQuerySet] = ModelQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="model_name_once_a_project")]

    def __str__(self) -> str:
        return self.name


class VersionQuerySet(models.QuerySet["Version"]):
    def servable(self) -> Self:
        """Keep those that Driftline answers for: from a file, or through an endpoint."""
        return self.exclude(sha256="", endpoint__isnull=True)


class Version(models.Model):
    """One artifact of a model, an endpoint of another server that Driftline asks, or an external version.

    An external version is answered elsewhere, without Driftline: only its predictions are logged.
    """

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
    endpoint = models.JSONField(
        null=True,
        blank=True,
        help_text="the other server that answers: protocol, url, model, ...: see inference/serving/plan.py",
    )
    credential = models.BinaryField(
        default=b"", help_text="headers for the endpoint, sealed: see inference/runtime/remote/credentials.py"
    )
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.CharField(max_length=200, blank=True)
    execution_provider = models.CharField(
        max_length=16,
        default="cpu",
        help_text="cpu, cuda, tensorrt, openvino, ...: see inference/runtime/providers.py",
    )
    archived_at = models.DateTimeField(null=True, blank=True, help_text="since when it is not listed")

    objects: ClassVar[VersionQuerySet] = VersionQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["model", "version"], name="version_once_a_model"),
            models.CheckConstraint(
                condition=Q(sha256="") | Q(endpoint__isnull=True), name="version_from_file_or_endpoint"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.version}"

    @property
    def has_artifact(self) -> bool:
        return bool(self.sha256)

    @property
    def is_remote(self) -> bool:
        return self.endpoint is not None

    @property
    def is_external(self) -> bool:
        return not self.has_artifact and not self.is_remote


class Alias(models.Model):
    """A name that people gave to a version, by which callers may ask for it."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="aliases")
    name = models.CharField(max_length=64)
    version = models.ForeignKey(Version, models.CASCADE, related_name="aliases")

    class Meta:
        verbose_name_plural = "aliases"
        constraints = [models.UniqueConstraint(fields=["model", "name"], name="alias_once_a_model")]

    def __str__(self) -> str:
        return f"{self.name} of {self.model}"


class Deployment(models.Model):
    """Which version answers and which get a copy; `generation` grows with every change."""

    model = models.OneToOneField(Model, models.CASCADE, related_name="deployment")
    champion = models.ForeignKey(Version, models.PROTECT, null=True, blank=True, related_name="+")
    previous = models.ForeignKey(Version, models.PROTECT, null=True, blank=True, related_name="+")
    promoted_at = models.DateTimeField(null=True, blank=True, help_text="when the champion became it")
    shadows = models.ManyToManyField(Version, blank=True, related_name="+")
    shadow_shares = models.JSONField(
        default=dict, blank=True, help_text="share of rows that a shadow gets, by version; 1 where absent"
    )
    canary = models.ForeignKey(Version, models.PROTECT, null=True, blank=True, related_name="+")
    canary_weight = models.FloatField(
        null=True, blank=True, help_text="share of keys that the canary answers"
    )
    canary_key = models.CharField(
        max_length=204, default="subject", help_text="subject, client_id or tag:<name>"
    )
    canary_since = models.DateTimeField(null=True, blank=True, help_text="when its weight and key were set")
    generation = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(canary=None, canary_weight=None, canary_since=None)
                | Q(
                    canary__isnull=False, canary_weight__gt=0, canary_weight__lt=1, canary_since__isnull=False
                ),
                name="canary_whole_or_absent",
            )
        ]

    def __str__(self) -> str:
        return f"{self.model} at generation {self.generation}"


class DeploymentChange(models.Model):
    """One change of a deployment: the mark on every time axis, and the audit row of who did it and why.

    A change before the first event has no event time to stand at and takes the wall clock; pages show it no later
    than the first event, as logged history is older than the deployment that it made.
    """

    model = models.ForeignKey(Model, models.CASCADE, related_name="deployment_changes")
    generation = models.BigIntegerField()
    kind = models.CharField(max_length=20, help_text="first, promote, rollback, shadows, canary")
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


class VectorFeature(models.Model):
    """How many numbers the vectors have that a version has as a feature; vectors of another dimension are refused."""

    version = models.ForeignKey(Version, models.CASCADE, related_name="+", db_index=False)
    feature = models.CharField(max_length=100)
    dimension = models.IntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "feature"], name="one_dimension_a_vector")]

    def __str__(self) -> str:
        return f"{self.feature}, {self.dimension} numbers"


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
    archived_at = models.DateTimeField(null=True, blank=True, help_text="since when it is not listed")
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.kind} of {self.model}, {self.rows:,} rows"


class UnpublishedChange(models.Model):
    """A change that the plan file may not have yet: stored with it, and deleted by whoever publishes the plan."""

    changed_model = models.BigIntegerField(
        null=True, help_text="the key of a model; empty where others changed"
    )
    at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"change {self.pk} of {self.at}"


class PlanGeneration(models.Model):
    """The number of the newest serving plan; its one row also orders the writers of the plan file."""

    value = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.value)
