"""The features of the product, by their names, each with its folder: what it adds stands in its `feature.py`.

Nothing else names them. `DRIFTLINE_FEATURES` may leave some out; their tables stay.
"""

FEATURES = {
    "hosts": "inference.hosts",
    "sources": "inference.prediction_log.sources",
    "lake": "inference.prediction_log.lake",
    "sinks": "monitors.sinks",
    "devices": "inference.edge",
    "device_summaries": "monitors.device_summaries",
    "optimiser": "monitors.optimiser",
    "reports": "monitors.reports",
    "mlflow": "monitors.workflows.mlflow",
    "registry_imports": "monitors.workflows.mlflow.registry_imports",
    "pulls": "monitors.workflows.pulls",
    "remote_training": "monitors.workflows.remote",
}
CORE = ("inference.prediction_log.imports", "inference.prediction_log.erasure", "monitors.annotations")
"""Parts that say what they add in the same way, and that no installation does without."""
