"""Metric points: what every page, rule and export reads."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Self

from django.db import models
from django.db.models.functions import Now

from driftline.base.work.attempts import AttemptedQuerySet, AttemptedWorkRow
from driftline.base.work.leased_work import LeasedQuerySet, LeasedWork
from inference.registry.models import Model
from monitors.definitions.models import Reference
from monitors.metrics.catalogue import METRICS, SubjectKind, measure_of


class PointStatus(models.TextChoices):
    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    INSUFFICIENT = "insufficient", "too few rows"
    NOT_INFORMATIVE = "not_informative", "limit too wide to tell"
    UNRIPE = "unripe", "labels are still coming"
    UNRELIABLE = "unreliable", "estimates before it did not come true"
    NO_DATA = "no_data"
    ERROR = "error"


MEASURED = (PointStatus.OK, PointStatus.WARNING, PointStatus.CRITICAL)
"""The statuses of points that were judged by their own limit when they were measured."""


class NumbersField(models.Field):  # type: ignore[type-arg]
    """Numbers of one type of PostgreSQL, or nulls, by position."""

    def __init__(self, kind: str, **options: Any) -> None:
        self.kind = kind
        super().__init__(**options)

    def deconstruct(self) -> Any:
        name, path, args, options = super().deconstruct()
        return name, path, [self.kind, *args], options

    def db_type(self, connection: Any) -> str:
        return f"{self.kind}[]"


STATUS_CODES = (
    "", "ok", "warning", "critical", "insufficient", "unripe", "unreliable", "no_data", "error", "not_informative",
)  # fmt: skip
"""What the bytes of `PackedPoints.statuses` mean; no status: no point. The view reads them, so append only."""


class PointName(models.Model):
    """The metric and the feature at one position of a layout: of a list of points that are stored as one row.

    A model numbers its layouts, and positions begin with 1. None is ever changed.
    """

    pk = models.CompositePrimaryKey("model_id", "layout", "position")
    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False)
    layout = models.IntegerField()
    position = models.IntegerField()
    measure = models.CharField(max_length=12)
    metric = models.CharField(max_length=40)
    feature = models.CharField(max_length=200, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["model", "metric", "feature"], name="names_of_a_metric"),
            models.Index(  # for `newest.py`, which asks of all models at once
                fields=["model", "layout"],
                include=["measure", "position", "metric", "feature"],
                condition=models.Q(feature="") | models.Q(metric="psi"),
                name="names_always_shown",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.metric} {self.feature}"


class PointLimits(models.Model):
    """Limits of a layout's points and why they lie there: the same of all windows that are judged by the same draws."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False)
    digest = models.BinaryField(help_text="of the layout and all below")
    thresholds = NumbersField("double precision")
    whys = models.JSONField(help_text="a sentence or null by position")

    class Meta:
        verbose_name_plural = "point limits"
        constraints = [models.UniqueConstraint(fields=["model", "digest"], name="limits_once_a_model")]

    def __str__(self) -> str:
        return f"limits {self.pk}"


class PackedPoints(models.Model):
    """All points of one measure in one window, of one version and segment; `MetricPoint` unpacks them.

    Arrays go by the positions of the layout, and are null where no point has such a number.
    """

    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False)
    layout = models.IntegerField(help_text="of the model, see PointName")
    limits = models.ForeignKey(
        PointLimits, models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False, null=True
    )
    start = models.DateTimeField()
    ripe_at = models.DateTimeField(null=True, help_text="when labels that are still coming may be judged")
    updated_at = models.DateTimeField(db_default=Now())
    revision = models.IntegerField(default=1, help_text="grows when late data changed a value")
    n = models.BigIntegerField()
    has_errors = models.BooleanField(default=False)
    span = models.CharField(max_length=8)
    role = models.CharField(max_length=10)
    version = models.CharField(max_length=64, blank=True)
    segment = models.CharField(max_length=200, blank=True)
    measure = models.CharField(max_length=12)
    statuses = models.BinaryField(help_text="a byte each, see STATUS_CODES")
    values = NumbersField("double precision", null=True)
    ns = NumbersField("bigint", null=True, help_text="where it is not `n`")
    lowers = NumbersField("double precision", null=True)
    uppers = NumbersField("double precision", null=True)
    thresholds = NumbersField("double precision", null=True, help_text="where they are not in `limits`")
    p_values = NumbersField("real", null=True)
    decision_p_values = NumbersField("real", null=True)
    kinds = NumbersField("smallint", null=True, help_text="places in `details`, from 1")
    details = models.JSONField(null=True, help_text="what only some points say, each once")
    detail = models.JSONField(null=True, help_text="what all points say")

    class Meta:
        verbose_name_plural = "packed points"
        constraints = [
            models.UniqueConstraint(
                fields=["model", "span", "role", "version", "segment", "measure", "start"],
                name="points_once_a_window",
            )
        ]
        indexes = [
            models.Index(fields=["model", "span", "start"], name="packed_points_of_a_window"),
            models.Index(
                fields=["model", "ripe_at"], condition=models.Q(ripe_at__isnull=False), name="unripe_windows"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.measure} of {self.role} {self.version}, {self.start:%Y-%m-%d %H}h"


class PointQuerySet(models.QuerySet["MetricPoint"]):
    def filter(self, *args: Any, **kwargs: Any) -> Self:
        """Narrow as usual. What is asked of some metrics is looked for among the rows of their measures alone."""
        metric, metrics = kwargs.get("metric"), kwargs.get("metric__in")
        if isinstance(metric, str) and metric in METRICS:
            kwargs.setdefault("measure", measure_of(metric))
        elif isinstance(metrics, Collection):
            known = {measure_of(name) for name in metrics if name in METRICS}
            kwargs.setdefault("measure__in", sorted(known))
        return super().filter(*args, **kwargs)


class MetricPoint(models.Model):
    """The value of one metric in one window. `version` is empty for the champion's role across versions.

    A view over `PackedPoints`: points are written by `storing.py` alone. One with too few rows has no
    value of drift or quality.
    """

    id = models.BigIntegerField(primary_key=True)
    row = models.ForeignKey(PackedPoints, models.DO_NOTHING, related_name="points")
    measure = models.CharField(max_length=12)
    model = models.ForeignKey(Model, models.DO_NOTHING, related_name="+")
    role = models.CharField(max_length=10)
    version = models.CharField(max_length=64, blank=True)
    span = models.CharField(max_length=8)
    start = models.DateTimeField()
    end = models.DateTimeField()
    metric = models.CharField(max_length=40)
    feature = models.CharField(max_length=200, blank=True, help_text="or the class")
    segment = models.CharField(max_length=200, blank=True)
    value = models.FloatField(null=True)
    n = models.BigIntegerField()
    lower = models.FloatField(null=True)
    upper = models.FloatField(null=True)
    threshold = models.FloatField(null=True)
    status = models.CharField(max_length=16, choices=PointStatus)
    detail = models.JSONField(null=True, help_text="p-value, reason of the threshold, coverage")
    revision = models.IntegerField(default=1, help_text="grows when late data changed a value")
    updated_at = models.DateTimeField()

    objects = PointQuerySet.as_manager()

    # What `monitors.metrics.limits.PointJudge` says of it; nothing of this is stored.
    calibrated_status = ""
    is_beyond = False
    rule = ""
    since: datetime | None = None

    class Meta:
        managed = False
        db_table = "monitors_metricpoint"

    def __str__(self) -> str:
        return f"{self.metric} {self.feature} {self.start:%Y-%m-%d %H}h"

    @property
    def subject_kind(self) -> SubjectKind:
        """What `feature` names: a feature, a column of the answer, a class, a segment's feature, or nothing."""
        return METRICS[self.metric].subject_of(self.feature)


class Detector(models.TextChoices):
    """What looks for changes of a version's error (`monitors.stats`)."""

    ADWIN = "adwin", "ADWIN"
    PAGE_HINKLEY = "page_hinkley", "Page-Hinkley"


class Accumulator(models.TextChoices):
    """What evidence of successive windows is added up for (`evidence.py`)."""

    DRIFT = "drift"
    PERFORMANCE = "performance"


class DetectorState(models.Model):
    """A detector's state after the windows that end by `until`: where it goes on from when a later one changes.

    An accumulator is one as well.
    """

    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False)
    role = models.CharField(max_length=10)
    version = models.CharField(max_length=64)
    span = models.CharField(max_length=8)
    detector = models.CharField(max_length=12, choices=[*Detector.choices, *Accumulator.choices])
    until = models.DateTimeField()
    payload = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model", "span", "role", "version", "detector", "until"], name="one_state_a_moment"
            )
        ]

    def __str__(self) -> str:
        return f"{self.detector} of {self.role} {self.version} until {self.until:%Y-%m-%d %H}h"


class ChangePoint(models.Model):
    """A version's error has another mean from `at` on, as its detector noticed at the end of a later window.

    The means and the counts of windows are those that the detector held on either side.
    """

    class Error(models.TextChoices):
        WRONG_SHARE = "wrong_share", "share of wrong answers"
        MAE = "mae", "mean absolute error"
        NDCG_LOSS = "ndcg_loss", "loss of NDCG"

    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False)
    role = models.CharField(max_length=10)
    version = models.CharField(max_length=64)
    span = models.CharField(max_length=8)
    segment = models.CharField(max_length=200, blank=True, help_text="empty: all rows")
    detector = models.CharField(max_length=12, choices=Detector)
    error = models.CharField(max_length=12, choices=Error)
    at = models.DateTimeField(help_text="start of the first window after the change")
    noticed_at = models.DateTimeField()
    before = models.FloatField()
    after = models.FloatField()
    n_before = models.IntegerField(help_text="windows")
    n_after = models.IntegerField(help_text="windows")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model", "span", "role", "version", "segment", "detector", "at"],
                name="one_change_a_moment",
            )
        ]
        indexes = [models.Index(fields=["model", "at"], name="changes_of_a_model")]

    def __str__(self) -> str:
        return f"{self.error} of {self.role} {self.version} from {self.at:%Y-%m-%d %H}h on"


class PendingEvaluation(AttemptedWorkRow):
    """A model whose points changed and whose rules must be judged."""

    model = models.OneToOneField(Model, models.CASCADE, related_name="pending_evaluation")

    objects = AttemptedQuerySet.as_manager()

    def __str__(self) -> str:
        return f"rules of {self.model}"


class UnreadDayQuerySet(AttemptedQuerySet["UnreadDay"]):
    def ended(self, now: datetime) -> Self:
        """Narrow to days that were over by `now`."""
        return self.filter(start__lte=now - timedelta(days=1))


class UnreadDay(AttemptedWorkRow):
    """A day whose rows are read when it has ended: compared with the reference's in all columns at once, and, of a
    regression, counted by the error that is expected of them.
    """

    model = models.ForeignKey(Model, models.CASCADE, related_name="unread_days")
    start = models.DateTimeField()

    objects = UnreadDayQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "start"], name="one_unread_day")]

    def __str__(self) -> str:
        return f"{self.model} {self.start:%Y-%m-%d}"


class NullDraws(models.Model):
    """What the statistics of one column give in windows of one size when nothing drifts.

    `digest` is of the reference's summary and of how draws are made, then of the part of the reference.
    """

    reference = models.ForeignKey(Reference, models.CASCADE, related_name="+", db_index=False)
    digest = models.CharField(max_length=64)
    column = models.CharField(max_length=200)
    size = models.BigIntegerField(help_text="rows of the window, on the grid")
    days = models.IntegerField(help_text="of the window")
    payload = models.BinaryField(help_text="see monitors/stats/drift/stored_nulls.py")
    made_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "null draws"
        constraints = [
            models.UniqueConstraint(
                fields=["reference", "digest", "days", "size", "column"], name="one_null_a_size"
            )
        ]

    def __str__(self) -> str:
        return f"{self.column}, {self.size} rows against {self.reference}"


class JointNullDraws(models.Model):
    """What joint comparisons give when nothing drifts: kept because they take seconds to draw.

    `digest` is of the reference's summary and of the columns that were compared.
    """

    reference = models.ForeignKey(Reference, models.CASCADE, related_name="+")
    digest = models.CharField(max_length=64)
    size = models.BigIntegerField(help_text="rows of the window")
    draws = models.JSONField(help_text="metric -> ascending values")
    why = models.CharField(max_length=200)
    made_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "joint null draws"
        constraints = [
            models.UniqueConstraint(fields=["reference", "digest", "size"], name="one_joint_null_a_size")
        ]

    def __str__(self) -> str:
        return f"{self.size} rows against {self.reference}"


class ExpectedErrors(models.Model):
    """How many rows of an ended day lie in each bin of the error that a reference lets one expect of them.

    `version` is empty for all that callers were answered; `rows` is how many there were then, of which a sample may
    have been counted. Without counts `why` says what stood in their way.
    """

    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False)
    start = models.DateTimeField()
    role = models.CharField(max_length=10)
    version = models.CharField(max_length=64, blank=True)
    digest = models.CharField(max_length=64, help_text="of what the reference taught")
    rows = models.BigIntegerField()
    counts = models.JSONField(null=True, blank=True)
    why = models.CharField(max_length=300, blank=True)

    class Meta:
        verbose_name_plural = "expected errors"
        constraints = [
            models.UniqueConstraint(
                fields=["model", "start", "role", "version"], name="expected_errors_once_a_day"
            )
        ]

    def __str__(self) -> str:
        return f"errors of {self.role} {self.version} on {self.start:%Y-%m-%d}"


class RowLoss(models.TextChoices):
    """What one labelled row adds to the error of its model."""

    LOG_LOSS = "log_loss", "Log loss"
    WRONG_SHARE = "wrong_share", "Share of wrong answers"
    BRIER = "brier", "Brier score"
    MAE = "mae", "Mean absolute error"
    MSE = "mse", "Mean squared error"


class SegmentSearch(LeasedWork):
    """A search for the segments of a period that got worse or grew: asked for, done by a worker, kept as it ended.

    `rows` and `labelled` are what the log held of the period then: with other ones it is searched again.
    """

    class State(models.TextChoices):
        QUEUED = "queued"
        READY = "ready"
        FAILED = "failed"

    UNFINISHED = (State.QUEUED,)

    model = models.ForeignKey(Model, models.CASCADE, related_name="segment_searches")
    start = models.DateTimeField()
    end = models.DateTimeField()
    loss = models.CharField(
        max_length=12, choices=RowLoss, blank=True, help_text="what rows lose; empty: by drift"
    )
    state = models.CharField(max_length=8, choices=State, default=State.QUEUED)
    rows = models.BigIntegerField(default=0)
    labelled = models.BigIntegerField(default=0)
    findings = models.JSONField(
        null=True, blank=True, help_text="see Findings and Growth in monitors/metrics"
    )
    requested_by = models.CharField(max_length=200)
    requested_at = models.DateTimeField(db_default=Now())

    objects = LeasedQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["model", "start", "end", "loss"], name="one_segment_search")
        ]
        verbose_name_plural = "segment searches"

    def __str__(self) -> str:
        return f"segments of {self.model}, {self.start:%Y-%m-%d %H}h to {self.end:%Y-%m-%d %H}h"
