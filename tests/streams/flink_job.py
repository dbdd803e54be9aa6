"""A job as its owner would write it; it runs in an environment of its own, on a local Flink with two threads.

python flink_job.py batch|stream URL MODEL TOKEN FOLDER NAME
"""

import sys
import time

from pyflink.table import EnvironmentSettings, Table, TableEnvironment

from driftline_flink.job import FlinkSummaryJob

COLUMNS = """
    `timestamp` TIMESTAMP(3), income DOUBLE, region STRING, prediction STRING, probability DOUBLE, latency_ms DOUBLE,
    label STRING
"""


def main(how: str, url: str, model: str, token: str, folder: str, name: str) -> None:
    job = FlinkSummaryJob(url=url, model=model, token=token, versions=["1"])
    started = time.monotonic()
    batch = _environment(EnvironmentSettings.in_batch_mode())
    if how == "batch":
        print("new" if job.summarise(_rows(batch, folder), batch=name) else "known")
    else:
        stream = _environment(EnvironmentSettings.in_streaming_mode())
        rows = _rows(stream, folder, ", WATERMARK FOR `timestamp` AS `timestamp` - INTERVAL '1' MINUTE")
        with job.stream(rows, name=name, sample=_rows(batch, folder)).collect() as sent:
            for row in sent:
                print("new" if row[0] else "known", flush=True)
    print(f"{time.monotonic() - started:.1f} s")


def _environment(settings: EnvironmentSettings) -> TableEnvironment:
    environment = TableEnvironment.create(settings)
    for key, value in {
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        "python.fn-execution.arrow.batch.size": "50000",
        "python.fn-execution.bundle.size": "50000",
        "parallelism.default": "2" if settings.is_streaming_mode() is False else "1",
        "table.local-time-zone": "UTC",
        "rest.bind-address": "127.0.0.1",
    }.items():
        environment.get_config().set(key, value)
    return environment


def _rows(environment: TableEnvironment, folder: str, watermark: str = "") -> Table:
    environment.execute_sql(
        f"CREATE TABLE predictions ({COLUMNS}{watermark}) WITH ('connector' = 'filesystem', 'path' = '{folder}', "
        "'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601')"
    )
    return environment.from_path("predictions")


if __name__ == "__main__":
    main(*sys.argv[1:])
