"""The status file that a serving process keeps of its counts."""

import json
import os
import time
from pathlib import Path

from inference.registry.models import Model
from inference.serving.counts.metrics import ServingMetrics
from inference.serving.counts.rolling_counts import RollingCounts


def report(home: Path, metrics: ServingMetrics, *, waiting: int = 0, **more: object) -> None:
    """Write the status file of a process that lives: this one."""
    series = metrics.snapshot()["series"]
    started = time.time() - 30
    status = {
        "pid": os.getpid(), "started_at": started, "written_at": started + 30, "ready": True, "generation": 1,
        "stale_models": {}, "failed_versions": {}, "executions": {}, "shadows": [], "resident_bytes": 1 << 20,
        "load": {"rows": waiting, "requests": waiting, "oldest_seconds": 0.25, "threads": 0},
        **metrics.snapshot(), "last_minute": RollingCounts(started).describe(started + 30, series), **more,
    }  # fmt: skip
    (home / "serving").mkdir(exist_ok=True)
    (home / "serving" / f"{os.getpid()}.json").write_text(json.dumps(status))


def busy(model: Model) -> ServingMetrics:
    """Sixty requests of 2 ms, of which the model took 1.5 ms, answered ten at a time; and one that was refused."""
    metrics = ServingMetrics()
    series = metrics.series(model.pk, "1", "champion")
    for _ in range(6):
        series.observe_run(10)
        series.phases["compute"].add(1_500_000, 10)
        series.phases["queue"].add(500_000, 10)
        series.phases["total"].add(2_000_000, 10)
    series.faults["invalid"] += 1
    metrics.series(model.pk, "2", "shadow").observe_run(10)
    metrics.shadow_drops[model.pk, "2", "queue_full"] += 3
    return metrics
