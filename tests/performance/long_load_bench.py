"""Minutes of steady load on everything that is installed: `python -m tests.performance.long_load_bench [--json PATH]`.

`h2load` asks for ten rows a request in an open loop, 10,000 rows a second in all, for ten minutes. Meanwhile a row of
another model is logged again and again, and looked for in its daily count: that is how fresh metrics are. Of each
minute are printed the longest such wait, the processor time a row of each process, their memory, and what the spool
holds; what the last minute takes more than the first is what grows with the load.
"""

import argparse
import json
import os
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from driftline.common.periods import rfc3339
from inference.prediction_log.spool.segments import spooled_bytes
from tests.flows.installation.running import Installation
from tests.performance.contenders import FEATURES, PATH, build_model
from tests.performance.installed_bench import (
    cpu_seconds,
    installed,
    rows_stored,
    sum_by_role,
    wait_until_calm,
)
from tests.performance.outside_clients import Measured, Target, open_loop
from tests.waiting import wait_until

ROWS = 10  # of a request
WATCHED = "watched"


@dataclass
class Freshness:
    """Logs a row now and then, and notes how long it takes until the day's count has it."""

    installation: Installation
    waits_s: list[tuple[float, float]] = field(
        default_factory=list
    )  # when it was logged, and how long that took
    is_over: bool = False

    def watch(self) -> None:
        with closing(self.installation.api()) as api:
            api.post("/api/v1/models", {"name": WATCHED, "task": "binary"})
            count = 0
            while not self.is_over:
                row = {
                    "id": f"row-{count}", "timestamp": rfc3339(datetime.now(UTC)), "version": "1",
                    "features": {"income": 1.5}, "prediction": "1",
                }  # fmt: skip
                api.post(f"/api/v1/models/{WATCHED}/predictions", {"predictions": [row]})
                began, count = time.monotonic(), count + 1
                path = f"/api/v1/models/{WATCHED}/metrics?metric=count&from=-1d&step=day"
                wait_until(
                    lambda path=path, count=count: (
                        sum(point["value"] or 0 for point in api.get(path)["items"]) >= count
                    ),
                    seconds=300,
                )
                self.waits_s.append((began, time.monotonic() - began))


def memory_mb(pid: int) -> float:
    """Return the memory of a process in MB: its own, and its share of what it has in common with others."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.partition("Pss:")[2].split()[0]) / 1024


def run(installation: Installation, target: Target, minutes: int, rate: float) -> list[dict[str, Any]]:
    freshness = Freshness(installation)
    measured: list[Measured] = []
    seconds = 60.0 * minutes
    load = threading.Thread(target=lambda: measured.append(open_loop(target, rate / ROWS, seconds)))
    watch = threading.Thread(target=freshness.watch)
    watch.start()
    load.start()
    rows, cpu = rows_stored(installation), sum_by_role(installation, cpu_seconds)
    results = []
    for minute in range(minutes):
        began = time.monotonic()
        wait_until(lambda until=began + 60: time.monotonic() >= until, seconds=120)
        now_rows, now_cpu = rows_stored(installation), sum_by_role(installation, cpu_seconds)
        stored = max(now_rows - rows, 1)
        waits = [wait for at, wait in freshness.waits_s if at >= began] or [60.0]
        results.append(
            {
                "minute": minute + 1,
                "rows_stored": stored,
                "event_to_metric_s": max(waits),
                "cpu_us": {
                    role: (now_cpu[role] - cpu.get(role, 0.0)) / stored * 1e6 for role in sorted(now_cpu)
                },
                "memory_mb": dict(sorted(sum_by_role(installation, memory_mb).items())),
                "spool_mb": spooled_bytes(installation.home) / 1e6,
            }
        )
        show(results[-1])
        rows, cpu = now_rows, now_cpu
    load.join()
    freshness.is_over = True
    watch.join()
    [result] = measured
    print(
        f"{result.rate * ROWS:,.0f} rows/s: p50 {result.p50_ms:.1f}, p99 {result.p99_ms:.1f} ms, "
        f"{result.failed} requests failed"
    )
    wait_until_calm(installation, (result.requests - result.failed) * ROWS)
    print(installation.check_invariants())
    return results


def show(minute: dict[str, Any]) -> None:
    cpu = ", ".join(f"{role} {us:.1f}" for role, us in minute["cpu_us"].items() if us >= 0.05)
    memory = ", ".join(f"{role} {mb:.0f}" for role, mb in minute["memory_mb"].items() if mb >= 1)
    print(
        f"minute {minute['minute']}: {minute['rows_stored'] / 60:,.0f} rows/s stored, event to metric "
        f"{minute['event_to_metric_s']:.1f} s, CPU us a row: {cpu}; MB: {memory}; spool {minute['spool_mb']:.0f} MB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--rate", type=float, default=10_000, help="rows a second")
    options = parser.parse_args()
    model, rows = build_model()
    data = [float(str(value)) for row in rows[:ROWS] for value in row]
    tensor = {"name": "X", "shape": [ROWS, FEATURES], "datatype": "FP32", "data": data}
    with installed(model) as installation:
        target = Target(installation.port, PATH, installation.token, (json.dumps({"inputs": [tensor]}),))
        results = run(installation, target, options.minutes, options.rate)
    if options.json:
        options.json.write_text(json.dumps({"long_load": results, "processors": os.cpu_count()}, indent=2))


if __name__ == "__main__":
    main()
