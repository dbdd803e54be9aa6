"""How many rows a second Spark summarises here, into a whole installation that runs beside it.

    make run DEMO=none                                        # prints URL and token
    python -m tests.performance.spark_bench URL TOKEN [--rows 20000000] [--compare]

It makes a model and a lake of rows with 30 features over one day, has Spark summarise it on two threads as
tests/streams/spark_job.py does, and asks Driftline what it counted. Rates are of the job alone, without the start of
Spark; memory is the high-water mark of its largest process. tests/streams/install spark makes the environment.

With --compare the same rows are then imported into the log of a second model, and every window of the two is compared:
counts, cells and sketches bit for bit, sums within 1e-9 of their size. It needs the home of the installation
(DRIFTLINE_HOME), and room for the log.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import django
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from driftline_spark.bundle import write_bundle

ROOT = Path(__file__).resolve().parents[2]
SPARK = ROOT / ".streams/spark/bin/python"
FEATURES = 30
FILES = 24
DAY_US = 1_767_571_200_000_000  # 5 January 2026
DAY = {"from": "2026-01-05T00:00:00Z", "to": "2026-01-06T00:00:00Z"}
MODEL, LOGGED = "lake", "logged"
PATIENCE_SECONDS = 1_800


def rows_of(count: int, seed: int, start_us: int, length_us: int) -> pa.Table:
    """Make labelled rows with numbers of different spread, and one text."""
    rng = np.random.default_rng(seed)
    columns = {f"f{number}": rng.normal(number, 1 + number, count) for number in range(FEATURES - 1)}
    probability = 1 / (1 + np.exp(-(columns["f0"] + rng.normal(0, 1, count))))
    times = np.sort(rng.integers(start_us, start_us + length_us, count))
    return pa.table(
        {
            **columns,
            "region": rng.choice(["north", "south", "east", "west"], count),
            "timestamp": pa.array(times).cast(pa.timestamp("us", "UTC")),
            "prediction": np.where(probability >= 0.5, "1", "0"),
            "probability": probability,
            "label": np.where(rng.random(count) < probability, "1", "0"),
        }
    )


def prepare(api: httpx.Client, model: str) -> None:
    """Make a model, with a reference that names its features."""
    api.post("models", json={"name": model, "task": "binary"}).raise_for_status()
    reference = rows_of(4_000, 0, DAY_US - 4 * 86_400_000_000, 4 * 86_400_000_000)
    sink = pa.BufferOutputStream()
    pq.write_table(reference, sink)
    answer = api.put(
        f"models/{model}/reference?version=1",
        content=sink.getvalue().to_pybytes(),
        headers={"Content-Type": "application/vnd.apache.parquet"},
    )
    answer.raise_for_status()


def write_lake(folder: Path, rows: int) -> float:
    """Write one file an hour; return its size in MB."""
    folder.mkdir()
    for hour in range(FILES):
        table = rows_of(rows // FILES, hour + 1, DAY_US + hour * 3_600_000_000, 3_600_000_000)
        pq.write_table(table, folder / f"{hour:02}.parquet")
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


def run_job(url: str, token: str, folder: Path) -> tuple[float, float]:
    """Summarise the lake; return the seconds of the job, and the memory of its largest process in MB."""
    write_bundle(folder / "driftline-spark.zip")
    arguments = ["batch", url, MODEL, token, str(folder / "lake"), "2026-01-05", str(folder / "checkpoint")]
    ended = subprocess.run(
        [SPARK, ROOT / "tests/streams/spark_job.py", *arguments],
        env={**os.environ, "PYTHONPATH": str(folder / "driftline-spark.zip"), "PYSPARK_PYTHON": str(SPARK)},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        raise SystemExit(ended.stderr[-3_000:])
    [seconds] = re.findall(r"([\d.]+) s", ended.stdout)
    return float(seconds), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def wait_for_drift(api: httpx.Client, model: str, rows: int) -> float:
    """Wait until the drift of the whole day was measured; return for how many seconds."""
    started, asked = time.monotonic(), {"metric": "drifted_features", "step": "day", **DAY}
    while time.monotonic() - started < PATIENCE_SECONDS:
        points = api.get(f"models/{model}/metrics", params=asked).json()["items"]
        if points and points[-1]["n"] == rows:
            return time.monotonic() - started
        time.sleep(0.5)
    raise SystemExit(f"the day of {model} was not measured within {PATIENCE_SECONDS} s")


def import_lake(lake: Path) -> float:
    """Import each file of the lake into the log of the second model; return the seconds of the imports alone."""
    seconds, with_ids = 0.0, lake.parent / "rows.parquet"
    for file in sorted(lake.iterdir()):
        table = pq.read_table(file)
        ids = pa.array([f"{file.stem}-{number}" for number in range(table.num_rows)])
        pq.write_table(table.append_column("id", ids), with_ids)
        began = time.monotonic()
        command = ["import_predictions", str(with_ids), "--model", LOGGED, "--for-version", "1"]
        subprocess.run([sys.executable, ROOT / "manage.py", *command], check=True, stderr=subprocess.DEVNULL)
        seconds += time.monotonic() - began
    return seconds


def compare() -> tuple[int, list[str]]:
    """Compare all windows of the two models; return how many there are, and what differs."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "driftline.settings")
    django.setup()
    from inference.registry.models import Model
    from tests.streams.lakes import differences, summaries

    ours, theirs = (Model.objects.get(name=name) for name in (MODEL, LOGGED))
    return len(summaries(ours)), differences(ours, theirs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--compare", action="store_true", help="with the same rows in the log")
    asked = parser.parse_args()
    subprocess.run([ROOT / "tests/streams/install", "spark"], check=True)
    headers = {"Authorization": f"Bearer {asked.token}"}
    with (
        httpx.Client(base_url=f"{asked.url}/api/v1/", headers=headers, timeout=60) as api,
        tempfile.TemporaryDirectory(prefix="driftline-bench-") as scratch,
    ):
        folder = Path(scratch)
        prepare(api, MODEL)
        megabytes = write_lake(folder / "lake", asked.rows)
        seconds, memory = run_job(asked.url, asked.token, folder)
        rows = asked.rows // FILES * FILES
        waited = wait_for_drift(api, MODEL, rows)
        print(f"{rows:,} rows x {FEATURES} features, {megabytes:,.0f} MB of Parquet")
        print(
            f"summarised and sent in {seconds:,.1f} s: {rows / seconds:,.0f} rows/s; "
            f"largest process {memory:,.0f} MB; drift of the whole day measured {waited:.1f} s later",
            flush=True,
        )
        if asked.compare:
            prepare(api, LOGGED)
            imported = import_lake(folder / "lake")
            waited = wait_for_drift(api, LOGGED, rows)
            print(f"imported in {imported:,.0f} s, and measured {waited:,.1f} s later", flush=True)
            windows, found = compare()
            print(f"{windows:,} windows compared, {len(found):,} differ")
            sys.exit("\n".join(found[:10]) or None)


if __name__ == "__main__":
    main()
