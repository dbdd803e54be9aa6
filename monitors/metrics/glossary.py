"""What each metric means, in one sentence for people: the pages' tooltips and the reference of metrics show it."""

from __future__ import annotations

_ESTIMATED = (
    "What {} would be if labels were here, computed from the model's own probabilities or a learnt error."
)
_GAP = "The difference in {} between the best and the worst group of a segment's feature."

MEANINGS: dict[str, str] = {
    # service
    "count": "How many predictions the window holds.",
    "throughput": "Predictions a second, on average over the window.",
    "volume_ratio": "The window's predictions divided by the median of the same hours in the weeks before.",
    "freshness": "Hours since the newest prediction.",
    "silence": "How unlikely so long a silence is for this model: 3 means one in a thousand.",
    "ingest_lag": "How far the model's sources are behind what was sent to them, once the hour has ended.",
    "error_rate": "The share of requests that ended in an error.",
    "shadow_drop_rate": "The share of requests that had their copy for a shadow version dropped under load.",
    "queue_p95": "95 % of requests waited no longer than this for a run of the model.",
    "latency_p50": "Half of the requests took no longer than this in the server.",
    "latency_p95": "95 % of the requests took no longer than this in the server.",
    "latency_p99": "99 % of the requests took no longer than this in the server.",
    # custom
    "custom": "What an expression that people wrote comes to; its own name, unit and direction hold.",
    "custom_of_labels": "The same of an expression that reads labels, over labelled rows alone.",
    # labels
    "label_coverage": "The share of the window's predictions that have a label.",
    "label_coverage_by_class": "The share of the predictions of one class that have a label.",
    "label_lag_p50": "Half of the labels came within this time of their prediction.",
    "label_lag_p95": "95 % of the labels came within this time of their prediction.",
    # classification
    "accuracy": "The share of predictions that equal their label.",
    "precision": "Of the rows that were predicted positive, the share that are; averaged over classes if many.",
    "recall": "Of the rows that are positive, the share that were predicted so; averaged over classes if many.",
    "f1": "The harmonic mean of precision and recall.",
    "weighted_precision": "Precision by class, averaged by how many rows each class has.",
    "weighted_f1": "F1 by class, averaged by how many rows each class has.",
    "class_precision": "Of the rows predicted as this class, the share that belong to it.",
    "class_recall": "Of the rows of this class, the share that were predicted so.",
    "class_f1": "The harmonic mean of precision and recall of one class.",
    "class_roc_auc": "The chance that a row of the class has a higher probability of it than any other row.",
    "class_average_precision": "The area under precision by recall of one class against the rest.",
    "roc_auc": "The chance that a positive row has a higher score than a negative one: 0.5 is guessing, 1 perfect. Of "
    "several classes it is the mean of each class against the rest (macro).",
    "average_precision": "The area under precision by recall: the share of positives is guessing, 1 perfect. Of "
    "several classes it is the mean of each class against the rest (macro).",
    "weighted_roc_auc": "ROC AUC of each class against the rest, averaged by how many rows each class has.",
    "weighted_average_precision": "Average precision of each class against the rest, averaged by how many rows each "
    "class has.",
    "log_loss": "The mean of minus the logarithm of the probability given to the label: 0 is perfect.",
    "brier": "The mean squared difference between probability and label: 0 is perfect.",
    "ece": "How far predicted probabilities lie from observed shares, on average over bins of them.",
    # regression
    "mae": "The mean of the absolute errors, in the unit of the label.",
    "rmse": "The square root of the mean squared error, in the unit of the label; large errors weigh more.",
    "mape": "The mean of the absolute errors as a share of the label.",
    "median_absolute_error": "Half of the absolute errors are no larger than this.",
    "pinball_loss": "The mean loss of a predicted quantile: too low and too high weigh by the quantile.",
    "r2": "The share of the labels' variance that the predictions explain: 1 is perfect, 0 as good as the mean.",
    "bias": "The mean of prediction minus label: above 0 the model predicts too high.",
    # ranking
    "ndcg": "How near the order of a query's items is to the best one: 1 is the best order.",
    "ndcg_at_10": "How near the order of a query's first ten items is to the best one: 1 is the best order.",
    "mean_average_precision": "The mean over queries of the average precision of their order.",
    "mrr": "The mean over queries of one divided by the rank of the first relevant item.",
    "hit_rate_at_10": "The share of queries with a relevant item among the first ten.",
    # groups and estimates
    "accuracy_gap": _GAP.format("accuracy"),
    "precision_gap": _GAP.format("precision"),
    "recall_gap": _GAP.format("recall"),
    "mae_gap": _GAP.format("mean absolute error"),
    "performance_evidence": "Evidence over many windows that performance has fallen: 3 is a thousand to one.",
    "estimated_accuracy": _ESTIMATED.format("accuracy"),
    "estimated_precision": _ESTIMATED.format("precision"),
    "estimated_recall": _ESTIMATED.format("recall"),
    "estimated_f1": _ESTIMATED.format("F1"),
    "estimated_roc_auc": _ESTIMATED.format("ROC AUC"),
    "estimated_log_loss": _ESTIMATED.format("log loss"),
    "estimated_brier": _ESTIMATED.format("the Brier score"),
    "estimated_mae": _ESTIMATED.format("the mean absolute error"),
    "estimated_rmse": _ESTIMATED.format("the root mean squared error"),
    # drift
    "drifted_features": "How many features drifted from the reference in the window.",
    "psi": "How far shares by bin moved from the reference, as the population stability index: 0 is the same.",
    "tv": "The largest difference in probability between the window and the reference: half the sum over bins.",
    "js": "The Jensen-Shannon distance between the window and the reference: 0 is the same, 1 nothing in common.",
    "ks": "The largest distance between the two cumulative distributions: 0 is the same.",
    "wasserstein": "How far values moved on average, in standard deviations of the reference.",
    "anderson_darling": "The distance between the two cumulative distributions with more weight on their tails.",
    "chi_square": "How unlikely the window's categories are if shares were those of the reference.",
    "domain_auc": "How well a classifier tells the window's rows from the reference's: 0.5 is not at all.",
    "pca_reconstruction_error": "How badly the reference's main components describe the window's rows together.",
    "drift_evidence": "Evidence over many windows that inputs drift slowly: 3 is a thousand to one.",
    "drift_evidence_by_feature": "Evidence over many windows that one feature drifts slowly: 3 is a thousand to one.",
    # data quality
    "faulty_features": "How many features fail a quality check in the window.",
    "missing_share": "The share of rows without a value of the feature.",
    "wrong_type_share": "The share of values that are no number where numbers are expected.",
    "unseen_share": "The share of values that the reference does not have.",
    "out_of_range_share": "The share of values outside what people expect, or outside the reference's range by "
    "more than half of its width.",
    "impossible_share": "The share of values so far out that the reference could not have given them, or hardly.",
    "mode_share": "The share of the most frequent value: near 1 the feature is stuck.",
}


def meaning_of(metric: str) -> str:
    """Return the sentence on a metric; empty for one that has none."""
    return MEANINGS.get(metric, "")
