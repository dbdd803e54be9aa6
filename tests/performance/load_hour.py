"""An hour of mixed load on a whole installation: `python -m tests.performance.load_hour [--minutes 60]`.

It starts one in a home of its own and ends by itself. `h2load` asks for 1,500 inferences a second in an open loop, a
thread logs 500 rows a second of another model in batches of 100 and labels a fifth of them, and a third model gets a
row again and again, which is looked for in its daily count: event to metric. A machine that is too slow reaches less,
and each minute says how much. Memory (PSS), open files, table sizes and folders are printed before the load, after its
first minute and after its last; at the end, whether all that was acknowledged is stored once.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from driftline.base.periods import rfc3339
from driftline.demo.api_client import Api
from tests.flows.installation.running import Installation
from tests.performance.contenders import PATH, build_model
from tests.performance.installed_bench import body_of, installed, rows_stored, sum_by_role, wait_until_calm
from tests.performance.outside_clients import Measured, Target, open_loop
from tests.performance.start_bench import pss

LOGGED, WATCHED = "logged", "watched"
BATCH, LABELLED_EVERY = 100, 5
MAX_BEHIND_SECONDS = 1.0  # what the machine does not reach is left out, not sent later in a burst
MAX_WAIT_SECONDS = 300.0
_TABLES = """
    SELECT coalesce(pg_partition_root(oid), oid)::regclass::text, sum(pg_total_relation_size(oid)) / 1e6
    FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace GROUP BY 1
"""


@dataclass
class Logger:
    """Logs rows at a rate, and labels some of them, until `is_over`."""

    installation: Installation
    rate: float
    rows: int = 0
    labels: int = 0
    is_over: bool = False

    def run(self) -> None:
        random, path = np.random.default_rng(35), f"/api/v1/models/{LOGGED}"
        due = time.monotonic()
        with closing(self.installation.api()) as api:
            while not self.is_over:
                items = [_row(f"row-{self.rows + place}", *random.normal(size=10)) for place in range(BATCH)]
                api.post(f"{path}/predictions", {"predictions": items})
                labels = [{"id": item["id"], "label": item["prediction"]} for item in items[::LABELLED_EVERY]]
                api.post(f"{path}/labels", {"labels": labels})
                self.rows, self.labels = self.rows + len(items), self.labels + len(labels)
                due = max(due + BATCH / self.rate, time.monotonic() - MAX_BEHIND_SECONDS)
                time.sleep(max(due - time.monotonic(), 0.0))


@dataclass
class Watcher:
    """Logs one row after the other, each once the day's count has the one before, until `is_over`."""

    installation: Installation
    waits_s: list[float] = field(default_factory=list)
    is_over: bool = False

    def run(self) -> None:
        with closing(self.installation.api()) as api:
            while not self.is_over:
                api.post(
                    f"/api/v1/models/{WATCHED}/predictions",
                    {"predictions": [_row(f"seen-{len(self.waits_s)}", 1.5)]},
                )
                began = time.monotonic()
                while _count(api) <= len(self.waits_s) and time.monotonic() - began < MAX_WAIT_SECONDS:
                    time.sleep(0.1)
                self.waits_s.append(time.monotonic() - began)


def _row(key: str, *values: float) -> dict[str, Any]:
    return {
        "id": key,
        "timestamp": rfc3339(datetime.now(UTC)),
        "version": "1",
        "features": {f"f{place}": round(float(value), 4) for place, value in enumerate(values)},
        "prediction": str(int(values[0] > 0)),
    }


def _count(api: Api) -> float:
    points = api.get(f"/api/v1/models/{WATCHED}/metrics?metric=count&from=-1d&step=day")["items"]
    return float(sum(point["value"] or 0 for point in points))


# -- what is compared --------------------------------------------------------------------------------------------------
def look_at(installation: Installation) -> dict[str, Mapping[str, float]]:
    """Read what a leak would make larger; sizes in MB."""
    folders = [entry for entry in installation.home.iterdir() if entry.is_dir()]
    return {
        "memory (PSS, MB)": sum_by_role(installation, pss),
        "open files": sum_by_role(installation, lambda pid: len(list(Path(f"/proc/{pid}/fd").iterdir()))),
        "tables (MB)": {name: float(size) for name, size in installation.query(_TABLES)},
        "folders (MB)": {folder.name: _folder_mb(folder) for folder in folders},
    }


def _folder_mb(folder: Path) -> float:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total / 1e6


def show(looks: Mapping[str, dict[str, Mapping[str, float]]]) -> None:
    """Print the looks beside each other: all of memory and files, of the rest what is larger than 1 MB."""
    for what in next(iter(looks.values())):
        print(f"\n{what:40}" + "".join(f"{when:>16}" for when in looks))
        for name in sorted({name for look in looks.values() for name in look[what]}):
            sizes = [look[what].get(name, 0.0) for look in looks.values()]
            if "(MB)" not in what or max(sizes) >= 1:
                print(f"  {name:38}" + "".join(f"{size:16,.0f}" for size in sizes))
        print(f"  {'all':38}" + "".join(f"{sum(look[what].values()):16,.0f}" for look in looks.values()))


def describe(minute: int, asked: Measured, rows_a_second: float, waits_s: list[float]) -> str:
    """Describe one minute as a line."""
    freshness = "none came"
    if waits_s:
        freshness = f"median {statistics.median(waits_s):.1f} s, longest {max(waits_s):.1f} s"
    return (
        f"minute {minute}: {(asked.requests - asked.failed) / asked.seconds:,.0f} inferences/s ({asked.failed} failed,"
        f" p50 {asked.p50_ms:.1f}, p99 {asked.p99_ms:.1f}, longest {asked.max_ms:.0f} ms),"
        f" {rows_a_second:,.0f} rows/s; event to metric of {len(waits_s)}: {freshness}"
    )


# -- the load ----------------------------------------------------------------------------------------------------------
def load(
    installation: Installation, target: Target, *, minutes: int, inferences: float, rows: float,
    at_minute: Callable[[int, str], None],
) -> int:  # fmt: skip
    """Load for so many minutes, and report each as it ends; returns how many rows were acknowledged in all."""
    logger, watcher = Logger(installation, rows), Watcher(installation)
    answered = 0
    with ThreadPoolExecutor() as threads:
        running = [threads.submit(logger.run), threads.submit(watcher.run)]
        try:
            for minute in range(1, minutes + 1):
                logged, seen, began = logger.rows, len(watcher.waits_s), time.monotonic()
                asked = open_loop(target, inferences, 60.0)
                answered += asked.requests - asked.failed
                rows_a_second = (logger.rows - logged) / (time.monotonic() - began)
                at_minute(minute, describe(minute, asked, rows_a_second, watcher.waits_s[seen:]))
        finally:
            logger.is_over = watcher.is_over = True
        for future in running:
            future.result()  # raises what the thread did
    print(f"logged {logger.rows:,} rows and {logger.labels:,} labels, asked for {answered:,} inferences")
    return answered + logger.rows + len(watcher.waits_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--inferences", type=float, default=1_500, help="a second")
    parser.add_argument("--rows", type=float, default=500, help="logged a second")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    options = parser.parse_args()
    model, rows = build_model()
    with installed(model) as installation:
        with closing(installation.api()) as api:
            for name in (LOGGED, WATCHED):
                api.post("/api/v1/models", {"name": name, "task": "binary"})
        looks = {"before": look_at(installation)}

        def at_minute(minute: int, line: str) -> None:
            print(line, flush=True)
            if minute in (1, options.minutes):
                looks[f"minute {minute}"] = look_at(installation)

        target = Target(installation.port, PATH, installation.token, (body_of(rows[0]),))
        acknowledged = load(
            installation, target, minutes=options.minutes, inferences=options.inferences, rows=options.rows,
            at_minute=at_minute,
        )  # fmt: skip
        wait_until_calm(installation, acknowledged)
        looks["afterwards"] = look_at(installation)
        show(looks)
        print(f"\n{acknowledged:,} rows were acknowledged and {rows_stored(installation):,} are stored")
        print(installation.check_invariants())
    if options.json:
        options.json.write_text(json.dumps({"load_hour": looks}, indent=2))


if __name__ == "__main__":
    main()
