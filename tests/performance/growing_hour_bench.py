"""What one more prediction costs in an hour that grows: `python -m tests.performance.growing_hour_bench [--json PATH]`.

Rows of 30 features are stored as the drain stores them and summarised as they come, all within one hour. At each size
one more prediction is stored, summarised and measured, several times, by the functions that a worker calls, in this
process: CPU time of the process. Beside it stand the rows' own cost to store and to summarise, since the size before.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.performance.installation import services_with_django

SIZES = (1_000, 10_000, 100_000, 1_000_000, 5_000_000)
FEATURES = [f"feature_{place:02}" for place in range(30)]
BATCH = 10_000


def measure(sizes: tuple[int, ...], repeats: int) -> list[dict[str, Any]]:
    from driftline.base.accounts.models import Project
    from inference.prediction_log.ingest.store import store_records
    from inference.prediction_log.spool.record import FeatureTable, LoggedBatch
    from inference.registry.services import create_model
    from inference.registry.versions import external_version
    from monitors.metrics.services import measure as measure_windows
    from monitors.summaries.services import summarise

    project = Project.objects.create(slug="bench", name="Bench")
    model = create_model(project=project, name="growing", task="binary", actor="bench")
    version = external_version(model=model, version="1")
    rng = np.random.default_rng(0)
    hour_us = 1_767_600_000 * 1_000_000 // 3_600_000_000 * 3_600_000_000
    total = 0

    def store(rows: int) -> None:
        nonlocal total
        values = rng.normal(size=(rows, len(FEATURES))).astype(np.float32)
        score = rng.random((rows, 1)).astype(np.float32)
        batch = LoggedBatch(
            model_id=model.pk, version_id=version.pk, role="champion", generation=1,
            ids=[f"row-{total + place}" for place in range(rows)], client_ids=None, keyed=False,
            event_time_us=[hour_us + int(us) for us in np.sort(rng.integers(0, 3_600_000_000, rows))],
            received_us=hour_us, latency_us=[1_000] * rows,
            features=FeatureTable(FEATURES, "f4", values.tobytes()),
            prediction=["1" if one > 0.5 else "0" for one in score[:, 0]],
            probabilities=np.hstack([1 - score, score]).tobytes(), subjects=None, tags=None,
        )  # fmt: skip
        total += rows
        store_records([batch], spool="bench", segment=1, offset=total)

    def work() -> None:
        while summarise(model.pk):
            pass
        measure_windows(model.pk)

    def cpu_of(work: Any, *arguments: Any) -> float:
        began = time.process_time()
        work(*arguments)
        return time.process_time() - began

    store(1)
    work()
    results = []
    for size in sizes:
        before = total
        storing = summarising = 0.0
        while total < size:
            storing += cpu_of(store, min(BATCH, size - total))
            summarising += cpu_of(work)
        one_more = []
        for _ in range(repeats):
            store(1)
            one_more.append(cpu_of(work) * 1e3)
        results.append(
            {
                "rows": size,
                "one_more_ms": statistics.median(one_more),
                "storing_us_a_row": storing / (size - before) * 1e6,
                "summarising_us_a_row": summarising / (size - before) * 1e6,
            }
        )
        show(results[-1])
    return results


def show(result: dict[str, Any]) -> None:
    print(
        f"{result['rows']:>10,} rows in the hour: one more {result['one_more_ms']:.1f} ms; each row "
        f"{result['storing_us_a_row']:.1f} us to store, {result['summarising_us_a_row']:.1f} us to summarise",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    options = parser.parse_args()
    with services_with_django():
        results = measure(tuple(options.sizes), options.repeats)
    if options.json:
        options.json.write_text(json.dumps({"growing_hour": results}, indent=2))


if __name__ == "__main__":
    main()
