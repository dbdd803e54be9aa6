"""Every metric: what it measures, in which unit, and which direction is worse."""

from dataclasses import dataclass

from monitors.definitions.models import MonitorKind


@dataclass(frozen=True)
class Metric:
    name: str
    kind: str
    title: str
    unit: str = ""
    lower_is_better: bool = True
    per_feature: bool = False


def _metrics() -> list[Metric]:
    drift, quality = MonitorKind.DRIFT, MonitorKind.QUALITY
    performance, service = MonitorKind.PERFORMANCE, MonitorKind.SERVICE
    return [
        Metric("count", service, "Predictions", "rows", lower_is_better=False),
        Metric("throughput", service, "Throughput", "rows/s", lower_is_better=False),
        Metric("latency_p50", service, "Latency, median", "ms"),
        Metric("latency_p95", service, "Latency, 95th percentile", "ms"),
        Metric("latency_p99", service, "Latency, 99th percentile", "ms"),
        Metric("label_coverage", performance, "Label coverage", "share", lower_is_better=False),
        Metric("accuracy", performance, "Accuracy", "share", lower_is_better=False),
        Metric("precision", performance, "Precision", "share", lower_is_better=False),
        Metric("recall", performance, "Recall", "share", lower_is_better=False),
        Metric("f1", performance, "F1", lower_is_better=False),
        Metric("roc_auc", performance, "ROC AUC", lower_is_better=False),
        Metric("log_loss", performance, "Log loss", "nats"),
        Metric("brier", performance, "Brier score"),
        Metric("mae", performance, "Mean absolute error"),
        Metric("rmse", performance, "Root mean squared error"),
        Metric("r2", performance, "R²", lower_is_better=False),
        Metric("bias", performance, "Bias (mean error)"),
        Metric("psi", drift, "Population stability index", per_feature=True),
        Metric("js", drift, "Jensen-Shannon distance", "0 to 1", per_feature=True),
        Metric("ks", drift, "Kolmogorov-Smirnov distance", "0 to 1", per_feature=True),
        Metric("wasserstein", drift, "Wasserstein distance", "reference std", per_feature=True),
        Metric("chi_square", drift, "Chi-square", per_feature=True),
        Metric("missing_share", quality, "Missing values", "share", per_feature=True),
        Metric("unseen_share", quality, "Unseen categories", "share", per_feature=True),
        Metric("out_of_range_share", quality, "Out of range", "share", per_feature=True),
    ]


METRICS = {metric.name: metric for metric in _metrics()}
DRIFT_METRICS = tuple(name for name, metric in METRICS.items() if metric.kind == MonitorKind.DRIFT)
QUALITY_METRICS = tuple(name for name, metric in METRICS.items() if metric.kind == MonitorKind.QUALITY)
