"""A job as its owner would write it; it runs in an environment of its own, on a local Spark with two threads.

python spark_job.py batch|stream URL MODEL TOKEN FOLDER NAME CHECKPOINT
"""

import sys
import time

from pyspark.sql import SparkSession

from driftline_spark.job import SummaryJob


def main(how: str, url: str, model: str, token: str, folder: str, name: str, checkpoint: str) -> None:
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.memory", "2g")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "50000")
        .getOrCreate()
    )
    job = SummaryJob(url=url, model=model, token=token, versions=["1"])
    started = time.monotonic()
    if how == "batch":
        print("new" if job.summarise(spark.read.parquet(folder), batch=name) else "known")
    else:
        schema = spark.read.parquet(folder).schema
        rows = spark.readStream.schema(schema).option("maxFilesPerTrigger", 1).parquet(folder)
        job.stream(rows, name=name, checkpoint=checkpoint, availableNow=True).awaitTermination()
    print(f"{time.monotonic() - started:.1f} s")
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
