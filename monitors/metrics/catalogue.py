"""Every metric: what it measures, in which unit, and which direction is worse."""

from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from driftline.common.periods import STEPS
from monitors.definitions.models import CUSTOM, CUSTOM_OF_LABELS, MonitorKind

ANSWER_COLUMNS = ("prediction", "score")
"""The columns that drift is measured of beside the features."""


_LASTING = ("month", "week", "day")
"""The spans of metrics that add windows up; the last one stands for shorter ones."""


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
    """One metric. It has points of these `spans` alone, if any are named; of rows or of their absence."""

    name: str
    kind: str
    title: str
    unit: str = ""
    lower_is_better: bool = True
    subject: SubjectKind = SubjectKind.ROWS
    spans: tuple[str, ...] = ()
    of_rows: bool = True

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

    def subject_of(self, feature: str) -> SubjectKind:
        """Return what the feature of one point names."""
        is_answer = self.kind == MonitorKind.DRIFT and feature in ANSWER_COLUMNS
        return SubjectKind.ANSWER if is_answer else self.subject


def _metrics() -> list[Metric]:
    drift, quality = MonitorKind.DRIFT, MonitorKind.QUALITY
    performance, service = MonitorKind.PERFORMANCE, MonitorKind.SERVICE
    feature, of_class, groups = SubjectKind.FEATURE, SubjectKind.CLASS, SubjectKind.SEGMENT_FEATURE
    own = SubjectKind.CUSTOM_METRIC
    return [
        Metric("count", service, "Predictions", "rows", lower_is_better=False),
        Metric("throughput", service, "Throughput", "rows/s", lower_is_better=False),
        Metric(
            "volume_ratio",
            service,
            "Prediction volume against normal",
            "times",
            lower_is_better=False,
            spans=("hour", "day"),
        ),
        Metric("freshness", service, "Time without a prediction", "h", spans=("hour",), of_rows=False),
        Metric(
            "silence", service, "Unlikelihood of a silence", "decimal places", spans=("hour",), of_rows=False
        ),
        Metric("error_rate", service, "Error rate", "share"),
        Metric("shadow_drop_rate", service, "Copies that shadows dropped", "share"),
        Metric("queue_p95", service, "Wait for a run, 95th percentile", "ms"),
        Metric("latency_p50", service, "Latency, median", "ms"),
        Metric("latency_p95", service, "Latency, 95th percentile", "ms"),
        Metric("latency_p99", service, "Latency, 99th percentile", "ms"),
        # One that people defined each; its own unit and direction hold in place of these.
        Metric(CUSTOM, service, "Custom metric", subject=own),
        Metric(CUSTOM_OF_LABELS, performance, "Custom metric of labels", subject=own),
        Metric("label_coverage", performance, "Label coverage", "share", lower_is_better=False),
        Metric(
            "label_coverage_by_class",
            performance,
            "Label coverage of a predicted class",
            "share",
            lower_is_better=False,
            subject=of_class,
        ),
        Metric("label_lag_p50", performance, "Label lag, median", "s"),
        Metric("label_lag_p95", performance, "Label lag, 95th percentile", "s"),
        Metric("accuracy", performance, "Accuracy", "share", lower_is_better=False),
        Metric("precision", performance, "Precision", "share", lower_is_better=False),
        Metric("recall", performance, "Recall", "share", lower_is_better=False),
        Metric("f1", performance, "F1", lower_is_better=False),
        Metric("weighted_precision", performance, "Weighted precision", "share", lower_is_better=False),
        Metric("weighted_f1", performance, "Weighted F1", lower_is_better=False),
        # One a class.
        Metric("class_precision", performance, "Precision of a class", "share", False, subject=of_class),
        Metric("class_recall", performance, "Recall of a class", "share", False, subject=of_class),
        Metric("class_f1", performance, "F1 of a class", lower_is_better=False, subject=of_class),
        Metric("roc_auc", performance, "ROC AUC", lower_is_better=False),
        Metric("average_precision", performance, "Average precision", lower_is_better=False),
        Metric("log_loss", performance, "Log loss", "nats"),
        Metric("brier", performance, "Brier score"),
        Metric("ece", performance, "Expected calibration error", "0 to 1"),
        Metric("mae", performance, "Mean absolute error"),
        Metric("rmse", performance, "Root mean squared error"),
        Metric("mape", performance, "Mean absolute percentage error", "share"),
        Metric("median_absolute_error", performance, "Median absolute error"),
        Metric("pinball_loss", performance, "Quantile (pinball) loss"),
        Metric("r2", performance, "R²", lower_is_better=False),
        Metric("bias", performance, "Bias (mean error)"),
        # Means over the queries that rows were ranked in.
        Metric("ndcg", performance, "NDCG", "0 to 1", lower_is_better=False),
        Metric("ndcg_at_10", performance, "NDCG of the first 10", "0 to 1", lower_is_better=False),
        Metric("mean_average_precision", performance, "Mean average precision", lower_is_better=False),
        Metric("mrr", performance, "Mean reciprocal rank", lower_is_better=False),
        Metric("hit_rate_at_10", performance, "Hit rate of the first 10", "share", lower_is_better=False),
        # One a feature that makes segments.
        Metric("accuracy_gap", performance, "Accuracy gap between groups", "share", subject=groups),
        Metric("precision_gap", performance, "Precision gap between groups", "share", subject=groups),
        Metric("recall_gap", performance, "Recall gap between groups", "share", subject=groups),
        Metric("mae_gap", performance, "Mean absolute error gap between groups", subject=groups),
        Metric(
            "performance_evidence",
            performance,
            "Evidence of a lasting loss",
            "powers of ten",
            spans=_LASTING,
        ),
        Metric("estimated_accuracy", performance, "Accuracy, estimated", "share", lower_is_better=False),
        Metric("estimated_precision", performance, "Precision, estimated", "share", lower_is_better=False),
        Metric("estimated_recall", performance, "Recall, estimated", "share", lower_is_better=False),
        Metric("estimated_f1", performance, "F1, estimated", lower_is_better=False),
        Metric("estimated_roc_auc", performance, "ROC AUC, estimated", lower_is_better=False),
        Metric("estimated_log_loss", performance, "Log loss, estimated", "nats"),
        Metric("estimated_brier", performance, "Brier score, estimated"),
        Metric("estimated_mae", performance, "Mean absolute error, estimated"),
        Metric("estimated_rmse", performance, "Root mean squared error, estimated"),
        Metric("drifted_features", drift, "Drifted features", "features"),
        Metric("psi", drift, "Population stability index", subject=feature),
        Metric("tv", drift, "Total variation distance", "0 to 1", subject=feature),
        Metric("js", drift, "Jensen-Shannon distance", "0 to 1", subject=feature),
        Metric("ks", drift, "Kolmogorov-Smirnov distance", "0 to 1", subject=feature),
        Metric("wasserstein", drift, "Wasserstein distance", "reference std", subject=feature),
        Metric("anderson_darling", drift, "Anderson-Darling distance", subject=feature),
        Metric("chi_square", drift, "Chi-square", subject=feature),
        # Of all features together, once a day.
        Metric("domain_auc", drift, "Domain classifier AUC", "0 to 1", spans=("day",)),
        Metric(
            "pca_reconstruction_error",
            drift,
            "PCA reconstruction error",
            "reference std",
            spans=("day",),
        ),
        # Of successive windows together.
        Metric(
            "drift_evidence",
            drift,
            "Evidence of slow drift",
            "powers of ten",
            spans=_LASTING,
        ),
        Metric(
            "drift_evidence_by_feature",
            drift,
            "Evidence of slow drift of a feature",
            "powers of ten",
            subject=feature,
            spans=_LASTING,
        ),
        Metric("faulty_features", quality, "Features that fail quality checks", "features"),
        Metric("missing_share", quality, "Missing values", "share", subject=feature),
        Metric("wrong_type_share", quality, "Values of the wrong type", "share", subject=feature),
        Metric("unseen_share", quality, "Unseen categories", "share", subject=feature),
        Metric("out_of_range_share", quality, "Out of range", "share", subject=feature),
        Metric("impossible_share", quality, "Impossible values", "share", subject=feature),
        Metric("mode_share", quality, "Most frequent value", "share", subject=feature),
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
    **dict.fromkeys(("error_rate", "shadow_drop_rate", "queue_p95"), Measure.REQUESTS),
    **dict.fromkeys(("class_precision", "class_recall", "class_f1"), Measure.CLASSES),
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
    """Tell whether a metric says that features moved, one by one or together."""
    return METRICS[metric].kind == MonitorKind.DRIFT


def needs_labels(metric: str) -> bool:
    """Tell whether a metric is measured of labelled rows."""
    by_answers = metric.startswith(("estimated_", "label_coverage"))
    return METRICS[metric].kind == MonitorKind.PERFORMANCE and not by_answers


_OF_REGRESSION = (
    "mae", "rmse", "mape", "median_absolute_error", "pinball_loss", "r2", "bias", "mae_gap", "estimated_mae",
    "estimated_rmse",
)  # fmt: skip
_OF_RANKING = ("ndcg", "ndcg_at_10", "mean_average_precision", "mrr", "hit_rate_at_10")
_OF_CLASSES_ONLY = ("label_coverage_by_class", "class_precision", "class_recall", "class_f1")


def is_of_task(metric: str, task: str) -> bool:
    """Tell whether a metric is measured of models of a task."""
    if METRICS[metric].kind != MonitorKind.PERFORMANCE or metric == "performance_evidence":
        return True
    if metric in _OF_REGRESSION or metric in _OF_RANKING:
        return metric in (
            _OF_REGRESSION if task == "regression" else _OF_RANKING if task == "ranking" else ()
        )
    is_of_labels = metric.startswith("label_") and metric not in _OF_CLASSES_ONLY
    return is_of_labels or task in ("binary", "multiclass")


def nearest_metrics(name: str) -> str:
    """List the metrics whose names are most like one that is none; all of them would fill a page."""
    return ", ".join(get_close_matches(name[:64], METRICS, n=5, cutoff=0.0))
