"""The file that a serving process leaves of its counts."""

import json
from collections.abc import Sequence
from pathlib import Path

from inference.serving.counts.metrics import ServingMetrics

LOAD = ("requests", "rows", "oldest_seconds", "body_bytes", "threads", "threads_given_up", "remote_threads")


def write_report(
    home: Path, pid: int, model_id: int, started_at: float = 1.0, roles: Sequence[str] = ("champion",)
) -> None:
    """Leave the file of a process that answered, in each role, three requests of 1, 1 and 3 rows, and two late."""
    metrics = ServingMetrics()
    for id in (model_id, -1):
        for role in roles:
            series = metrics.series(id, "1", role)
            series.phases["total"].extend([1_000_000, 2_000_000, 3_000_000])
            series.faults["late"] = 2
            for rows in (1, 1, 3):
                series.observe_run(rows)
    metrics.shadow_drops[model_id, "2", "queue_full"] = 4
    metrics.jobs_ended[model_id, "1", "succeeded"] = 3
    metrics.refusals[503] = 2
    metrics.unlogged = 1
    present = {
        "pid": pid,
        "started_at": started_at,
        "generation": 1,
        "stale_models": {},
        "resident_bytes": 5,
        "spool": {"waiting_bytes": 7},
        "load": dict.fromkeys(LOAD, 0),
        "jobs_running": 1,
    }
    (home / "serving" / f"{pid}.json").write_text(json.dumps(present | metrics.snapshot()))
