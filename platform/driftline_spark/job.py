"""Summarises a DataFrame in batches or as a stream, and sends what came of it.

    from driftline_spark.job import SummaryJob

    job = SummaryJob(url="https://driftline.example.com", model="fraud", token=token, versions=["7"])
    job.summarise(spark.read.parquet("s3a://lake/predictions/day=2026-11-28"), batch="2026-11-28")

A batch has an id of the caller's, or that of the stream: the same one again adds nothing, so a job that was killed is
started again as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from driftline_spark.layout import RowLayout, WindowRow
from driftline_spark.model_api import ModelApi, VersionLayouts
from driftline_spark.row_summaries import complete, decoded, encoded, summarise_batches
from inference.prediction_log.rows.sent_items import DEFAULT_ROLE, ROLES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming import StreamingQuery

_SCHEMA = "version string, role string, hour_us long, segment string, rows long, summary binary"
_ARROW = pa.schema(
    [
        ("version", pa.string()), ("role", pa.string()), ("hour_us", pa.int64()), ("segment", pa.string()),
        ("rows", pa.int64()), ("summary", pa.binary()),
    ]
)  # fmt: skip
_KEY = ("version", "role", "hour_us", "segment")
_NUMBERS = ("tinyint", "smallint", "int", "bigint", "float", "double", "boolean", "decimal")


class SummaryJob:
    """Summaries of one model's rows; `versions` are those that rows may name, the first one of rows that name none."""

    def __init__(
        self, *, url: str, model: str, token: str, versions: Sequence[str], role: str = DEFAULT_ROLE
    ) -> None:
        if role not in ROLES:
            raise ValueError(f"{role!r} is not one of {', '.join(ROLES)}")
        self._api = ModelApi(url, model, token)
        self._versions = tuple(versions)
        self._role = role
        self._layouts = VersionLayouts(self._api, versions)

    def summarise(self, frame: DataFrame, *, batch: str) -> bool:
        """Summarise a DataFrame and add it as a batch; returns whether Driftline had not counted it before."""
        layouts = self._layouts.read(lambda names: None if frame.isEmpty() else _centres_of(frame, names))
        windows = _windows_of(frame, layouts, self._versions[0], self._role)
        features = {name for layout in layouts.values() for name in layout.segment_features}
        return self._api.add(batch, complete(windows, features))

    def stream(self, frame: DataFrame, *, name: str, checkpoint: str, **trigger: Any) -> StreamingQuery:
        """Summarise a stream, batch by batch; it goes on from its `checkpoint` after whatever ended it.

        `name` makes the ids of its batches: keep it for as long as the checkpoint. `trigger` is that of Spark, such as
        `processingTime="1 minute"` or `availableNow=True`.
        """

        def add(rows: DataFrame, number: int) -> None:
            self.summarise(rows, batch=f"{name}-{number}")

        writer = frame.writeStream.foreachBatch(add).option("checkpointLocation", checkpoint)
        return writer.trigger(**trigger).start() if trigger else writer.start()


def _centres_of(frame: DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Choose about the median of each column, and 0 for one without numbers, as the log does."""
    from pyspark.sql import functions as f

    found = dict.fromkeys(names, 0.0)
    numbers = [name for name, kind in frame.dtypes if name in found and kind.partition("(")[0] in _NUMBERS]
    medians = []
    for name in numbers:
        value = f.col(f"`{name.replace('`', '``')}`").cast("double")
        is_finite = ~f.isnan(value) & (f.abs(value) != float("inf"))
        medians.append(f.percentile_approx(f.when(is_finite, value), 0.5))
    if medians:
        [row] = frame.agg(*medians).collect()
        found |= {name: value for name, value in zip(numbers, row, strict=True) if value is not None}
    return found


def _windows_of(
    frame: DataFrame, layouts: Mapping[str, RowLayout], version: str, role: str
) -> Iterator[WindowRow]:
    """Summarise each partition on its worker, and add up the same windows of all partitions on the workers too."""
    now, names = datetime.now(UTC), frame.columns

    def summarise(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        named = (batch.rename_columns(names) for batch in batches)
        yield _to_arrow(summarise_batches(named, layouts, now=now, version=version, role=role))

    def merge(rows: pa.Table) -> pa.Table:
        return pa.Table.from_batches([_to_arrow(encoded(decoded(_from_arrow(rows))))])

    # Spark finds no column with a dot in its name.
    parts = frame.toDF(*map(str, range(len(names)))).mapInArrow(summarise, _SCHEMA)
    whole = parts.groupBy(*_KEY).applyInArrow(merge, _SCHEMA)
    for row in whole.toLocalIterator():
        yield WindowRow(row.version, row.role, row.hour_us, row.segment, row.rows, bytes(row.summary))


def _to_arrow(rows: Iterator[WindowRow]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([row._asdict() for row in rows], schema=_ARROW)


def _from_arrow(table: pa.Table) -> Iterator[WindowRow]:
    return (WindowRow(**row) for row in table.to_pylist())
