"""Bulk import and export end to end: `python -m tests.performance.import_bench [--rows N] [--format F] [--json PATH]`.

Writes a file of N predictions with 30 features (10 million take 2.5 GB as Parquet and 3.4 GB as CSV), imports it with
`manage.py import_predictions` into an installation of its own, exports the log again, and counts. Prints rows a second,
the time and the peak resident memory of either process, which must not grow with N.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from driftline.operations.services.children import MANAGE
from driftline.operations.services.postgres import connect
from tests.performance.installation import Installed, installation
from tests.performance.logging_bench import FEATURES, MODEL, create_model

GROUP = 100_000
DAYS = 30


def batches(rows: int, *, labelled: bool) -> Iterator[pa.RecordBatch]:
    """Make predictions of the last month, ordered by time."""
    rng = np.random.default_rng(20130101)
    now = time.time_ns() // 1000
    step = DAYS * 86_400_000_000 // rows
    for first in range(0, rows, GROUP):
        count = min(GROUP, rows - first)
        times = now - (rows - first) * step + np.arange(count) * step
        values = rng.normal(size=(len(FEATURES), count)).round(6)
        columns: dict[str, Any] = {
            "id": pa.array([f"row-{number:012d}" for number in range(first, first + count)]),
            "timestamp": pa.array(times, pa.timestamp("us", "UTC")),
            "prediction": pa.array(np.where(values[0] > 0, "1", "0")),
            "probability": pa.array(rng.random(count).round(6)),
            "latency_ms": pa.array(rng.gamma(2.0, 2.0, count).round(3)),
        }
        if labelled:
            columns["label"] = pa.array(rng.choice(["0", "1"], count))
        columns |= dict(zip(FEATURES, values, strict=True))
        yield pa.record_batch(columns)


def write_file(path: Path, rows: int, *, file_format: str, labelled: bool) -> None:
    found = batches(rows, labelled=labelled)
    first = next(found)
    writer = pq.ParquetWriter if file_format == "parquet" else pyarrow.csv.CSVWriter
    with writer(path, first.schema) as open_file:
        open_file.write_batch(first)
        for batch in found:
            open_file.write_batch(batch)


def run(installed: Installed, *arguments: str) -> dict[str, float]:
    """Run a command and give its time, its processor time and its peak resident memory."""
    environment = {
        **os.environ,
        "DRIFTLINE_HOME": str(installed.paths.home),
        "DRIFTLINE_DATABASE_URL": "",
        "DRIFTLINE_BROKER_URL": "",
    }
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, str(MANAGE), *arguments], env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise AssertionError(f"manage.py {' '.join(arguments)} ended with {process.returncode}.")
    return {"seconds": time.perf_counter() - began, **_used(usage)}


def _used(usage: resource.struct_rusage) -> dict[str, float]:
    return {"cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}


def count(installed: Installed, query: str) -> int:
    with connect(installed.paths) as database, database.cursor() as cursor:
        cursor.execute(query)
        return int(cursor.fetchone()[0])


def measure(folder: Path, rows: int, *, file_format: str, labelled: bool) -> dict[str, Any]:
    """Import a file and export it again, each once; raises AssertionError where a row is lost or came twice."""
    path = folder / f"predictions.{file_format}"
    write_file(path, rows, file_format=file_format, labelled=labelled)
    with installation(folder / "home") as installed:
        create_model(installed)
        imported = run(installed, "import_predictions", str(path), "--model", MODEL)
        stored = count(installed, "SELECT count(*) FROM inference_predictionrow")
        labels = count(installed, "SELECT count(*) FROM inference_label")
        path.unlink()
        exported = run(installed, "export_predictions", str(path), "--model", MODEL)
    if (stored, pq.read_metadata(path).num_rows, labels) != (rows, rows, rows if labelled else 0):
        raise AssertionError(f"{stored:,} of {rows:,} rows were stored, with {labels:,} labels.")
    return {
        "format": file_format,
        "rows": rows,
        "labelled": labelled,
        "import": imported | {"rows_per_s": rows / imported["seconds"]},
        "export": exported | {"rows_per_s": rows / exported["seconds"]},
        "load_average": os.getloadavg()[0],
    }


def show(result: dict[str, Any]) -> None:
    told = ", with labels" if result["labelled"] else ""
    print(f"\n{result['rows']:,} rows x {len(FEATURES)} features, {result['format']}{told}")
    for what in ("import", "export"):
        numbers = result[what]
        print(
            f"  {what:<8}{numbers['rows_per_s']:>10,.0f} rows/s  {numbers['seconds']:>8,.1f} s  "
            f"{numbers['cpu_s'] * 1e6 / result['rows']:>6.1f} us of CPU a row  {numbers['peak_mb']:>6,.0f} MiB at most"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--format", nargs="*", default=["parquet", "csv"], choices=["parquet", "csv"])
    parser.add_argument("--labels", action="store_true", help="with a label in every row")
    options = parser.parse_args()
    results = []
    for file_format in options.format:
        with tempfile.TemporaryDirectory(prefix="driftline-bench-") as folder:
            (Path(folder) / "home").mkdir()
            results.append(
                measure(Path(folder), options.rows, file_format=file_format, labelled=options.labels)
            )
        show(results[-1])
    if options.json:
        options.json.write_text(json.dumps({"import": results}))


if __name__ == "__main__":
    main()
