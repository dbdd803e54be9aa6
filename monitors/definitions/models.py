"""What is watched: monitors, the reference they compare with, and the segments they look at apart."""

from datetime import timedelta

import msgspec
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from driftline.base.work.leased_work import LeasedQuerySet, LeasedWork
from inference.registry.models import Dataset, Model, Version
from monitors.stats.expressions.parsing import parse_metric
from monitors.stats.expressions.tree import Aggregate
from monitors.stats.segments.conditions import RowCondition

CUSTOM, CUSTOM_OF_LABELS = "custom", "custom_of_labels"
"""The metrics of the catalogue that custom metrics are points of: of all rows, and of labelled ones alone."""


class MonitorKind(models.TextChoices):
    DRIFT = "drift", "Drift of features, predictions and scores"
    QUALITY = "quality", "Data quality"
    PERFORMANCE = "performance", "Performance against labels"
    SERVICE = "service", "Latency, throughput and errors"


class DriftMethod(models.TextChoices):
    """How drift is decided (`stats/drift/judging.py`). A monitor keeps the one it began with: its points stay alike."""

    PSI = "psi", "The stability index alone"
    COMBINED = "combined", "Several statistics, calibrated together"


class Monitor(models.Model):
    """One kind of watching over one model: how long its windows are and how many rows they need.

    `span` is what it judges by: unless a person chose it, it follows the traffic (`fitting.py`).
    """

    model = models.ForeignKey(Model, models.CASCADE, related_name="monitors")
    kind = models.CharField(max_length=12, choices=MonitorKind)
    span = models.CharField(
        max_length=8, default="day", help_text="hour, day, week, month, or 7d and its like"
    )
    is_span_chosen = models.BooleanField(default=False, help_text="by a person; else it follows the traffic")
    rule_spans = models.JSONField(default=list, blank=True, help_text="what rules judge by beside it")
    min_rows = models.IntegerField(default=200)
    min_label_coverage = models.FloatField(default=0.8, help_text="share of rows that must have a label")
    enabled = models.BooleanField(default=True)
    method = models.CharField(
        max_length=10, choices=DriftMethod, default=DriftMethod.COMBINED, help_text="how drift is decided"
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "kind"], name="one_monitor_a_kind")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.model}"

    @property
    def spans(self) -> frozenset[str]:
        """The spans of all windows that it or a rule of its metrics judges."""
        return frozenset((self.span, *self.rule_spans))

    @property
    def span_text(self) -> str:
        """Its span as people read it: `week` where somebody chose it, else `auto (week)`."""
        return self.span if self.is_span_chosen else f"auto ({self.span})"


class Reference(LeasedWork):
    """What a version's windows are compared with: a file reduced to a summary once, or stored summaries of the log.

    It judges the windows that start in `[since, until)`; while it is active there is no `until`.
    """

    class State(models.TextChoices):
        BUILDING = "building"
        READY = "ready"
        FAILED = "failed"

    UNFINISHED = (State.BUILDING,)

    class Kind(models.TextChoices):
        FILE = "file", "An uploaded file"
        PERIOD = "period", "A fixed period of the log"
        TRAILING = "trailing", "The days before each window"
        SAME_HOURS = "same_hours", "The same hours of the weeks before"

    model = models.ForeignKey(Model, models.CASCADE, related_name="references")
    version = models.ForeignKey(Version, models.CASCADE, related_name="references")
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.FILE)
    dataset = models.ForeignKey(Dataset, models.PROTECT, null=True, blank=True, related_name="+")
    start = models.DateTimeField(null=True, blank=True, help_text="of a fixed period")
    end = models.DateTimeField(null=True, blank=True, help_text="of a fixed period")
    length = models.IntegerField(
        null=True, blank=True, help_text="trailing days, or weeks with the same hours"
    )
    gap = models.IntegerField(default=0, help_text="days between trailing days and the window")
    state = models.CharField(max_length=10, choices=State, default=State.BUILDING)
    is_active = models.BooleanField(default=False)
    since = models.DateTimeField(null=True, blank=True, help_text="first window judged; empty: all")
    until = models.DateTimeField(null=True, blank=True, help_text="first window that another one judges")
    payload = models.BinaryField(null=True, blank=True, help_text="encoded WindowSummary of a file")
    performance = models.JSONField(
        default=dict, blank=True, help_text="metric -> mean, lower and upper over days"
    )
    error_profile = models.JSONField(
        null=True, blank=True, help_text="of a regression: its losses by bins of the prediction"
    )
    learnt_errors = models.BinaryField(
        null=True,
        blank=True,
        help_text="encoded LearntErrors, where features estimate a regression's errors better",
    )
    error_basis = models.CharField(
        max_length=300,
        blank=True,
        help_text="why its errors are estimated from features, or from the prediction",
    )
    importance = models.JSONField(default=dict, blank=True, help_text="feature -> permutation importance")
    importance_note = models.CharField(
        max_length=300,
        blank=True,
        help_text="why no importance was measured, where the version could be asked",
    )
    archived_at = models.DateTimeField(null=True, blank=True, help_text="since when it is not listed")
    created_at = models.DateTimeField(db_default=Now())

    objects = LeasedQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model", "version"],
                condition=Q(is_active=True),
                name="one_active_reference_a_version",
            ),
            models.CheckConstraint(
                condition=Q(kind="file", dataset__isnull=False) | (~Q(kind="file") & Q(dataset__isnull=True)),
                name="a_file_has_a_data_set",
            ),
        ]

    def __str__(self) -> str:
        return f"reference of {self.model} {self.version.version}"

    @property
    def description(self) -> str:
        """Return what it is, as the end of a sentence."""
        match self.kind:
            case self.Kind.PERIOD if self.start and self.end:
                last = self.end - timedelta(days=1)
                return f"the log from {self.start:%-d %b %Y} to {last:%-d %b %Y}"
            case self.Kind.TRAILING:
                before = f", which end {self.gap} days before it" if self.gap else ""
                return f"the last {self.length} days before each window{before}"
            case self.Kind.SAME_HOURS:
                return f"the same hours of the {self.length} weeks before each window"
        return f"{self.dataset.rows:,} rows of a file" if self.dataset else "a file"


class ReferenceDay(models.Model):
    """One day of a reference that has times: how far days lie apart although nothing drifts is learnt from these."""

    reference = models.ForeignKey(Reference, models.CASCADE, related_name="days")
    day = models.DateField()
    payload = models.BinaryField(help_text="encoded WindowSummary of the columns and labels")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["reference", "day"], name="one_summary_a_reference_day")
        ]

    def __str__(self) -> str:
        return f"{self.day} of {self.reference}"


class SegmentFeature(models.Model):
    """A feature with a segment for each of its values, such as one airport at a time."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="segment_features")
    feature = models.CharField(max_length=100)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "feature"], name="segment_feature_once")]

    def __str__(self) -> str:
        return f"{self.model} by {self.feature}"


class Segment(models.Model):
    """A named subset of rows: those for which all its conditions hold.

    Its summaries, points and rules go by the name, which has no colon: `feature:value` names one value of a feature.
    """

    model = models.ForeignKey(Model, models.CASCADE, related_name="segments", db_index=False)
    name = models.CharField(max_length=200)
    conditions = models.JSONField(help_text="see Condition in monitors/stats/segments/conditions.py")
    since = models.DateTimeField(help_text="when it was declared, or its conditions were changed")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "name"], name="one_segment_a_name")]

    def __str__(self) -> str:
        return f"{self.name} of {self.model}"

    @property
    def parsed(self) -> tuple[RowCondition, ...]:
        """Return its conditions."""
        return msgspec.convert(self.conditions, tuple[RowCondition, ...])


class CustomMetric(models.Model):
    """A metric that people define by an expression, such as `mean(amount * probability) where region == "north"`.

    Its points are those of one metric of the catalogue, with its name as their feature.
    """

    model = models.ForeignKey(Model, models.CASCADE, related_name="custom_metrics", db_index=False)
    name = models.CharField(max_length=100)
    expression = models.TextField(help_text="see monitors/stats/expressions")
    unit = models.CharField(max_length=20, blank=True)
    lower_is_better = models.BooleanField(default=False)
    kinds = models.JSONField(help_text="number or text, by the features that it reads")
    revision = models.IntegerField(default=1, help_text="grows when the expression is changed")
    since = models.DateTimeField(help_text="when it was defined, or its expression was changed")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "name"], name="one_custom_metric_a_name")]

    def __str__(self) -> str:
        return f"{self.name} of {self.model}"

    @property
    def parsed(self) -> Aggregate:
        """Return its expression as a tree."""
        return parse_metric(self.expression)

    @property
    def key(self) -> str:
        """What its sums are stored by: one with another expression never adds to the former one's."""
        return f"{self.pk}.{self.revision}"

    @property
    def metric(self) -> str:
        """The metric of the catalogue that its points are of."""
        return CUSTOM_OF_LABELS if self.parsed.has_labels else CUSTOM


class FeatureProfile(models.Model):
    """What a feature is, learnt from its first rows and fixed from then on, so that its summaries always merge."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="feature_profiles")
    feature = models.CharField(max_length=200)
    centre = models.FloatField(null=True, help_text="centre of a number's grid; empty for a category")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "feature"], name="one_profile_a_feature")]

    def __str__(self) -> str:
        return f"{self.feature} of {self.model}"


class Expectation(models.Model):
    """What somebody says that a feature should be, before what its reference shows; what is empty is not said."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="expectations")
    feature = models.CharField(max_length=200)
    least = models.FloatField(null=True)
    most = models.FloatField(null=True)
    categories = models.JSONField(null=True, help_text="the values that there may be, as text")
    missing_share = models.FloatField(null=True, help_text="share of rows that may lack it")
    tolerance = models.FloatField(
        default=0.0, help_text="share of rows that may be outside the range or have another value"
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "feature"], name="one_expectation_a_feature")]

    def __str__(self) -> str:
        return f"{self.feature} of {self.model}"

    @property
    def has_range(self) -> bool:
        """Whether a least or a largest value is said."""
        return self.least is not None or self.most is not None
