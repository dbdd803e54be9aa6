"""Every metric: what it measures, in which unit, and which direction is worse."""

from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from functools import partial

from driftline.base.periods import STEPS
from monitors.definitions.models import CUSTOM, CUSTOM_OF_LABELS, MonitorKind

ANSWER_COLUMNS = ("prediction", "score")
"""The columns that drift is measured of beside the features."""


_LASTING = ("month", "week", "day")
"""The spans of metrics that add windows up; the last one stands for shorter ones."""
_CLASSES, _NUMBERS = ("binary", "multiclass"), ("regression",)
"""The tasks of models that answer with a class, and with a number."""


class SubjectKind(StrEnum):
    """What the `feature` of a metric's points names."""

    ROWS = "rows"  # nothing: the point is of the rows as a whole
    FEATURE = "feature"
    ANSWER = "answer"  # one of ANSWER_COLUMNS
    CLASS = "class"
    CUSTOM_METRIC = "custom_metric"  # the name of one that people defined
    SEGMENT_FEATURE = "segment_feature"  # its values make the segments that are compared


class Measure(StrEnum):
    """What writes points of a window together: they are stored as one row, and the next ones replace it whole.

    A measure that runs by itself, after the others, needs one of its own.
    """

    SERVICE = "service"
    REQUESTS = "requests"
    VOLUME = "volume"
    SOURCES = "sources"
    PERFORMANCE = "performance"
    CLASSES = "classes"
    LABELS = "labels"
    ESTIMATES = "estimates"
    GAPS = "gaps"
    DRIFT = "drift"
    JOINT = "joint"
    QUALITY = "quality"
    DRIFT_EVIDENCE = "slow_drift"
    LOSS_EVIDENCE = "lasting_loss"
    CUSTOM = "custom"
    CUSTOM_OF_LABELS = "custom_label"


@dataclass(frozen=True)
class Metric:
    """One metric. It has points of these `spans` and of models of these `tasks` alone, if any are named; of rows or of
    their absence."""

    name: str
    title: str
    unit: str = ""
    lower_is_better: bool = True
    subject: SubjectKind = SubjectKind.ROWS
    spans: tuple[str, ...] = ()
    of_rows: bool = True
    tasks: tuple[str, ...] = ()
    needs_labels: bool = False
    kind: str = field(kw_only=True)

    @property
    def has_feature(self) -> bool:
        """Whether its points name a feature, a class or the like."""
        return self.subject != SubjectKind.ROWS

    @property
    def direction(self) -> str:
        """Which way is better, in words; empty of custom metrics, of which each has its own."""
        if self.subject == SubjectKind.CUSTOM_METRIC:
            return ""
        return "lower is better" if self.lower_is_better else "higher is better"

    @property
    def steps(self) -> tuple[str, ...]:
        """The windows that it has points of; of those that have no `spans` alone also rolling ones such as `7d`."""
        return self.spans or STEPS

    @property
    def of_segments(self) -> bool:
        """Whether it is measured in each segment, too: drift one by one, what labels say, and custom metrics."""
        return measure_of(self.name) in (
            Measure.DRIFT, Measure.PERFORMANCE, Measure.CLASSES, Measure.CUSTOM, Measure.CUSTOM_OF_LABELS,
        )  # fmt: skip

    def is_of_task(self, task: str) -> bool:
        """Return whether it is measured of models of a task."""
        return not self.tasks or task in self.tasks

    def subject_of(self, feature: str) -> SubjectKind:
        """Return what the feature of one point names."""
        is_answer = self.kind == MonitorKind.DRIFT and feature in ANSWER_COLUMNS
        return SubjectKind.ANSWER if is_answer else self.subject


def _metrics() -> list[Metric]:
    service, performance, drift, quality = (
        partial(Metric, kind=kind)
        for kind in (MonitorKind.SERVICE, MonitorKind.PERFORMANCE, MonitorKind.DRIFT, MonitorKind.QUALITY)
    )
    of_labels = partial(performance, needs_labels=True)
    of_classes, of_many_classes, of_numbers, of_ranking = (
        partial(of_labels, tasks=tasks) for tasks in (_CLASSES, ("multiclass",), _NUMBERS, ("ranking",))
    )
    feature, of_class, groups = SubjectKind.FEATURE, SubjectKind.CLASS, SubjectKind.SEGMENT_FEATURE
    own = SubjectKind.CUSTOM_METRIC
    return [
        service("count", "Predictions", "rows", lower_is_better=False),
        service("throughput", "Throughput", "rows/s", lower_is_better=False),
        service(
            "volume_ratio",
            "Prediction volume against normal",
            "times",
            lower_is_better=False,
            spans=("hour", "day"),
        ),
        service("freshness", "Time without a prediction", "h", spans=("hour",), of_rows=False),
        service("silence", "Unlikelihood of a silence", "decimal places", spans=("hour",), of_rows=False),
        service("ingest_lag", "Lag of sources", "s", spans=("hour",), of_rows=False),
        service("error_rate", "Error rate", "share"),
        service("shadow_drop_rate", "Copies that shadows dropped", "share"),
        service("queue_p95", "Wait for a run, 95th percentile", "ms"),
        service("latency_p50", "Latency, median", "ms"),
        service("latency_p95", "Latency, 95th percentile", "ms"),
        service("latency_p99", "Latency, 99th percentile", "ms"),
        # One that people defined each; its own unit and direction hold in place of these.
        service(CUSTOM, "Custom metric", subject=own),
        of_labels(CUSTOM_OF_LABELS, "Custom metric of labels", subject=own),
        performance("label_coverage", "Label coverage", "share", lower_is_better=False),
        performance(
            "label_coverage_by_class",
            "Label coverage of a predicted class",
            "share",
            lower_is_better=False,
            subject=of_class,
            tasks=_CLASSES,
        ),
        of_labels("label_lag_p50", "Label lag, median", "s"),
        of_labels("label_lag_p95", "Label lag, 95th percentile", "s"),
        of_classes("accuracy", "Accuracy", "share", lower_is_better=False),
        of_classes("precision", "Precision", "share", lower_is_better=False),
        of_classes("recall", "Recall", "share", lower_is_better=False),
        of_classes("f1", "F1", lower_is_better=False),
        of_classes("weighted_precision", "Weighted precision", "share", lower_is_better=False),
        of_classes("weighted_f1", "Weighted F1", lower_is_better=False),
        # One a class.
        of_classes("class_precision", "Precision of a class", "share", False, subject=of_class),
        of_classes("class_recall", "Recall of a class", "share", False, subject=of_class),
        of_classes("class_f1", "F1 of a class", lower_is_better=False, subject=of_class),
        of_many_classes("class_roc_auc", "ROC AUC of a class", lower_is_better=False, subject=of_class),
        of_many_classes(
            "class_average_precision", "Average precision of a class", lower_is_better=False, subject=of_class
        ),
        # Of several classes, means of each against the rest.
        of_classes("roc_auc", "ROC AUC", lower_is_better=False),
        of_classes("average_precision", "Average precision", lower_is_better=False),
        of_many_classes("weighted_roc_auc", "Weighted ROC AUC", lower_is_better=False),
        of_many_classes("weighted_average_precision", "Weighted average precision", lower_is_better=False),
        of_classes("log_loss", "Log loss", "nats"),
        of_classes("brier", "Brier score"),
        of_classes("ece", "Expected calibration error", "0 to 1"),
        of_numbers("mae", "Mean absolute error"),
        of_numbers("rmse", "Root mean squared error"),
        of_numbers("mape", "Mean absolute percentage error", "share"),
        of_numbers("median_absolute_error", "Median absolute error"),
        of_numbers("pinball_loss", "Quantile (pinball) loss"),
        of_numbers("r2", "R²", lower_is_better=False),
        of_numbers("bias", "Bias (mean error)"),
        # Means over the queries that rows were ranked in.
        of_ranking("ndcg", "NDCG", "0 to 1", lower_is_better=False),
        of_ranking("ndcg_at_10", "NDCG of the first 10", "0 to 1", lower_is_better=False),
        of_ranking("mean_average_precision", "Mean average precision", lower_is_better=False),
        of_ranking("mrr", "Mean reciprocal rank", lower_is_better=False),
        of_ranking("hit_rate_at_10", "Hit rate of the first 10", "share", lower_is_better=False),
        # One a feature that makes segments.
        of_classes("accuracy_gap", "Accuracy gap between groups", "share", subject=groups),
        of_classes("precision_gap", "Precision gap between groups", "share", subject=groups),
        of_classes("recall_gap", "Recall gap between groups", "share", subject=groups),
        of_numbers("mae_gap", "Mean absolute error gap between groups", subject=groups),
        of_labels(
            "performance_evidence",
            "Evidence of a lasting loss",
            "powers of ten",
            spans=_LASTING,
        ),
        performance(
            "estimated_accuracy", "Accuracy, estimated", "share", lower_is_better=False, tasks=_CLASSES
        ),
        performance(
            "estimated_precision", "Precision, estimated", "share", lower_is_better=False, tasks=_CLASSES
        ),
        performance("estimated_recall", "Recall, estimated", "share", lower_is_better=False, tasks=_CLASSES),
        performance("estimated_f1", "F1, estimated", lower_is_better=False, tasks=_CLASSES),
        performance("estimated_roc_auc", "ROC AUC, estimated", lower_is_better=False, tasks=_CLASSES),
        performance("estimated_log_loss", "Log loss, estimated", "nats", tasks=_CLASSES),
        performance("estimated_brier", "Brier score, estimated", tasks=_CLASSES),
        performance("estimated_mae", "Mean absolute error, estimated", tasks=_NUMBERS),
        performance("estimated_rmse", "Root mean squared error, estimated", tasks=_NUMBERS),
        drift("drifted_features", "Drifted features", "features"),
        drift("psi", "Population stability index", subject=feature),
        drift("tv", "Total variation distance", "0 to 1", subject=feature),
        drift("js", "Jensen-Shannon distance", "0 to 1", subject=feature),
        drift("ks", "Kolmogorov-Smirnov distance", "0 to 1", subject=feature),
        drift("wasserstein", "Wasserstein distance", "reference std", subject=feature),
        drift("anderson_darling", "Anderson-Darling distance", subject=feature),
        drift("chi_square", "Chi-square", subject=feature),
        drift("mean_shift", "Shift of the mean vector", "spread of the reference", subject=feature),
        # Of all features together, once a day.
        drift("domain_auc", "Domain classifier AUC", "0 to 1", spans=("day",)),
        drift(
            "pca_reconstruction_error",
            "PCA reconstruction error",
            "reference std",
            spans=("day",),
        ),
        # Of successive windows together.
        drift(
            "drift_evidence",
            "Evidence of slow drift",
            "powers of ten",
            spans=_LASTING,
        ),
        drift(
            "drift_evidence_by_feature",
            "Evidence of slow drift of a feature",
            "powers of ten",
            subject=feature,
            spans=_LASTING,
        ),
        quality("faulty_features", "Features that fail quality checks", "features"),
        quality("missing_share", "Missing values", "share", subject=feature),
        quality("wrong_type_share", "Values of the wrong type", "share", subject=feature),
        quality("unseen_share", "Unseen categories", "share", subject=feature),
        quality("out_of_range_share", "Out of range", "share", subject=feature),
        quality("impossible_share", "Impossible values", "share", subject=feature),
        quality("mode_share", "Most frequent value", "share", subject=feature),
    ]


METRICS = {metric.name: metric for metric in _metrics()}
ESTIMATED = tuple(name for name in METRICS if name.startswith("estimated_"))
EVIDENCE_METRICS = ("drift_evidence", "drift_evidence_by_feature", "performance_evidence")
"""Those of successive windows together."""
DRIFT_METRICS, QUALITY_METRICS = (
    tuple(
        name
        for name, metric in METRICS.items()
        if metric.kind == kind and metric.has_feature and name not in EVIDENCE_METRICS
    )
    for kind in (MonitorKind.DRIFT, MonitorKind.QUALITY)
)
JOINT_METRICS = ("domain_auc", "pca_reconstruction_error")
METRICS_OF_ROWS = (*JOINT_METRICS, "estimated_mae", "estimated_rmse")
"""Those of a day that wait for its rows to be read once it has ended."""


_MEASURES: dict[str, Measure] = {
    **dict.fromkeys(("volume_ratio", "freshness", "silence"), Measure.VOLUME),
    "ingest_lag": Measure.SOURCES,
    **dict.fromkeys(("error_rate", "shadow_drop_rate", "queue_p95"), Measure.REQUESTS),
    **{name: Measure.CLASSES for name in METRICS if name.startswith("class_")},
    **dict.fromkeys(("label_coverage_by_class", "label_lag_p50", "label_lag_p95"), Measure.LABELS),
    **dict.fromkeys(ESTIMATED, Measure.ESTIMATES),
    **{name: Measure.GAPS for name in METRICS if name.endswith("_gap")},
    **dict.fromkeys(JOINT_METRICS, Measure.JOINT),
    **dict.fromkeys(("drift_evidence", "drift_evidence_by_feature"), Measure.DRIFT_EVIDENCE),
    "performance_evidence": Measure.LOSS_EVIDENCE,
    CUSTOM: Measure.CUSTOM,
    CUSTOM_OF_LABELS: Measure.CUSTOM_OF_LABELS,
}


def measure_of(metric: str) -> Measure:
    """Return what writes the points of a metric; those of one measure are stored together."""
    return _MEASURES.get(metric) or Measure(METRICS[metric].kind)


def title_of(metric: str, feature: str = "") -> str:
    """Name what points are of, such as `Missing values of income`; a custom metric goes by its own name."""
    if metric not in METRICS:
        return metric
    if METRICS[metric].subject == SubjectKind.CUSTOM_METRIC and feature not in ("", "*"):
        return feature
    of_any = f" of any {'name' if METRICS[metric].subject == SubjectKind.CUSTOM_METRIC else 'feature'}"
    return METRICS[metric].title + (of_any if feature == "*" else f" of {feature}" if feature else "")


def is_drift(metric: str) -> bool:
    """Return whether a metric says that features moved, one by one or together."""
    return metric in METRICS and METRICS[metric].kind == MonitorKind.DRIFT


def nearest_metrics(name: str) -> str:
    """List the metrics whose names are most like one that is none; all of them would fill a page."""
    return ", ".join(get_close_matches(name[:64], METRICS, n=5, cutoff=0.0))
