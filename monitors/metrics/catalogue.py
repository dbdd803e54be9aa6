"""Every metric: what it measures, in which unit, and which direction is worse."""

from dataclasses import dataclass
from difflib import get_close_matches

from monitors.definitions.models import MonitorKind


@dataclass(frozen=True)
class Metric:
    """One metric. It has points of these `spans`, of segments or of all rows alone, and of rows or of their absence."""

    name: str
    kind: str
    title: str
    unit: str = ""
    lower_is_better: bool = True
    per_feature: bool = False
    spans: tuple[str, ...] = ("hour", "day")
    of_segments: bool = True
    of_rows: bool = True


def _metrics() -> list[Metric]:
    drift, quality = MonitorKind.DRIFT, MonitorKind.QUALITY
    performance, service = MonitorKind.PERFORMANCE, MonitorKind.SERVICE
    return [
        Metric("count", service, "Predictions", "rows", lower_is_better=False),
        Metric("throughput", service, "Throughput", "rows/s", lower_is_better=False),
        Metric("volume_ratio", service, "Predictions beside the usual", "times", lower_is_better=False),
        Metric("freshness", service, "Time without a prediction", "h", spans=("hour",), of_rows=False),
        Metric("error_rate", service, "Error rate", "share"),
        Metric("shadow_drop_rate", service, "Copies that shadows dropped", "share"),
        Metric("queue_p95", service, "Wait for a run, 95th percentile", "ms"),
        Metric("latency_p50", service, "Latency, median", "ms"),
        Metric("latency_p95", service, "Latency, 95th percentile", "ms"),
        Metric("latency_p99", service, "Latency, 99th percentile", "ms"),
        Metric("label_coverage", performance, "Label coverage", "share", lower_is_better=False),
        Metric(
            "label_coverage_by_class",
            performance,
            "Label coverage of a predicted class",
            "share",
            lower_is_better=False,
            per_feature=True,
        ),
        Metric("label_lag_p50", performance, "Label lag, median", "s"),
        Metric("label_lag_p95", performance, "Label lag, 95th percentile", "s"),
        Metric("accuracy", performance, "Accuracy", "share", lower_is_better=False),
        Metric("precision", performance, "Precision", "share", lower_is_better=False),
        Metric("recall", performance, "Recall", "share", lower_is_better=False),
        Metric("f1", performance, "F1", lower_is_better=False),
        Metric("weighted_precision", performance, "Weighted precision", "share", lower_is_better=False),
        Metric("weighted_f1", performance, "Weighted F1", lower_is_better=False),
        # One a class: the point's feature is the class.
        Metric("class_precision", performance, "Precision of a class", "share", False, per_feature=True),
        Metric("class_recall", performance, "Recall of a class", "share", False, per_feature=True),
        Metric("class_f1", performance, "F1 of a class", lower_is_better=False, per_feature=True),
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
        # One a feature that makes segments: its groups are compared.
        Metric("accuracy_gap", performance, "Accuracy gap between groups", "share", per_feature=True),
        Metric("precision_gap", performance, "Precision gap between groups", "share", per_feature=True),
        Metric("recall_gap", performance, "Recall gap between groups", "share", per_feature=True),
        Metric("mae_gap", performance, "Mean absolute error gap between groups", per_feature=True),
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
        Metric("psi", drift, "Population stability index", per_feature=True),
        Metric("tv", drift, "Total variation distance", "0 to 1", per_feature=True),
        Metric("js", drift, "Jensen-Shannon distance", "0 to 1", per_feature=True),
        Metric("ks", drift, "Kolmogorov-Smirnov distance", "0 to 1", per_feature=True),
        Metric("wasserstein", drift, "Wasserstein distance", "reference std", per_feature=True),
        Metric("anderson_darling", drift, "Anderson-Darling distance", per_feature=True),
        Metric("chi_square", drift, "Chi-square", per_feature=True),
        # Of all features together, once a day.
        Metric("domain_auc", drift, "Domain classifier AUC", "0 to 1", spans=("day",), of_segments=False),
        Metric(
            "pca_reconstruction_error",
            drift,
            "PCA reconstruction error",
            "reference std",
            spans=("day",),
            of_segments=False,
        ),
        Metric("faulty_features", quality, "Features with faults", "features"),
        Metric("missing_share", quality, "Missing values", "share", per_feature=True),
        Metric("wrong_type_share", quality, "Values of the wrong type", "share", per_feature=True),
        Metric("unseen_share", quality, "Unseen categories", "share", per_feature=True),
        Metric("out_of_range_share", quality, "Out of range", "share", per_feature=True),
        Metric("mode_share", quality, "Most frequent value", "share", per_feature=True),
    ]


METRICS = {metric.name: metric for metric in _metrics()}
ESTIMATED = tuple(name for name in METRICS if name.startswith("estimated_"))
FEATURE_METRICS = {name: metric for name, metric in METRICS.items() if metric.per_feature}
DRIFT_METRICS = tuple(name for name, metric in FEATURE_METRICS.items() if metric.kind == MonitorKind.DRIFT)
QUALITY_METRICS = tuple(
    name for name, metric in FEATURE_METRICS.items() if metric.kind == MonitorKind.QUALITY
)
CLASS_METRICS = ("class_precision", "class_recall", "class_f1", "label_coverage_by_class")
"""Those whose feature is a class."""
JOINT_METRICS = ("domain_auc", "pca_reconstruction_error")
METRICS_OF_ROWS = (*JOINT_METRICS, "estimated_mae", "estimated_rmse")
"""Those of a day that wait for its rows to be read once it has ended."""


def is_drift(metric: str) -> bool:
    """Tell whether a metric says that features moved, one by one or together."""
    return METRICS[metric].kind == MonitorKind.DRIFT


def nearest_metrics(name: str) -> str:
    """List the metrics whose names are most like one that is none; all of them would fill a page."""
    return ", ".join(get_close_matches(name[:64], METRICS, n=5, cutoff=0.0))
