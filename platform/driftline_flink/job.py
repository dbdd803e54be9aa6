"""Summarises a Table in batches or as a stream, and sends what came of it.

    from driftline_flink.job import FlinkSummaryJob

    job = FlinkSummaryJob(url="https://driftline.example.com", model="fraud", token=token, versions=["7"])
    job.summarise(table_environment.from_path("predictions"), batch="2026-11-28")

A batch has an id of the caller's, or that of the stream: the same one again adds nothing, so a job that was killed is
started again as it is, from a checkpoint or from the beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from driftline_spark.layout import RowLayout, WindowRow
from driftline_spark.model_api import ModelApi, VersionLayouts
from driftline_spark.row_summaries import complete, decoded, encoded, summarise_batches
from inference.prediction_log.rows.sent_items import DEFAULT_ROLE, ROLES

if TYPE_CHECKING:
    import pandas as pd
    from pyflink.table import Table, TableResult

SAMPLED_ROWS = 10_000
"""From so many rows the centre is chosen of a number that Driftline has never seen."""
_KEY = ("version", "role", "hour_us", "segment")
_NUMBERS = ("TINYINT", "SMALLINT", "INT", "BIGINT", "FLOAT", "DOUBLE", "BOOLEAN", "DECIMAL")


class FlinkSummaryJob:
    """Summaries of one model's rows; `versions` are those that rows may name, the first one of rows that name none."""

    def __init__(
        self, *, url: str, model: str, token: str, versions: Sequence[str], role: str = DEFAULT_ROLE
    ) -> None:
        if role not in ROLES:
            raise ValueError(f"{role!r} is not one of {', '.join(ROLES)}")
        self._api = ModelApi(url, model, token)
        self._layouts = VersionLayouts(self._api, versions)
        self._version, self._role = versions[0], role

    def summarise(self, table: Table, *, batch: str) -> bool:
        """Summarise a bounded table and add it as a batch; returns whether Driftline had not counted it before."""
        layouts = self._layouts.read(lambda names: _centres_of(table, names))
        windows = list(_windows_of(table, self._packer(table, layouts, datetime.now(UTC))))
        return self._api.add(batch, complete(windows, _segment_features(layouts)))

    def stream(self, table: Table, *, name: str, sample: Table) -> TableResult:
        """Summarise a stream by the hour; each is sent when the watermark of `timestamp` has passed its end.

        `name` makes the ids of its batches: keep it for as long as the stream. Rows that come after the watermark are
        left out, by Flink. `sample` is a bounded table of such rows, from which centres are chosen.
        """
        from pyflink.table import DataTypes
        from pyflink.table.expressions import col, lit
        from pyflink.table.udf import udaf, udf
        from pyflink.table.window import Tumble

        layouts = self._layouts.read(lambda names: _centres_of(sample, names))
        if not layouts:
            raise ValueError("the sample has no rows, so there is nothing to choose centres from")
        api, features, pack = self._api, _segment_features(layouts), self._packer(table, layouts)

        def send(packed: bytes) -> bool:
            return api.add(name, complete(_unpack([packed]), features))

        an_hour = udaf(lambda *columns: pack(columns), result_type=DataTypes.BYTES(), func_type="pandas")
        sent = udf(send, result_type=DataTypes.BOOLEAN(), deterministic=False)
        columns = [col(column) for column in table.get_schema().get_field_names()]
        hours = (
            table.window(Tumble.over(lit(1).hours).on(col("timestamp")).alias("an_hour"))
            .group_by(col("an_hour"))
            .select(an_hour(*columns).alias("packed"))
        )
        return hours.select(sent(col("packed")).alias("is_new")).execute()

    def _packer(
        self, table: Table, layouts: Mapping[str, RowLayout], now: datetime | None = None
    ) -> Callable[[Sequence[pd.Series[Any]]], bytes]:
        """Return what summarises some columns of rows on a worker, and packs the windows into one value.

        Without `now` each worker reads its clock whenever it summarises, as a stream outlives any moment.
        """
        names = table.get_schema().get_field_names()
        version, role = self._version, self._role

        def pack(columns: Sequence[pd.Series[Any]]) -> bytes:
            batch = pa.RecordBatch.from_arrays([_to_arrow(column) for column in columns], names)
            moment = now or datetime.now(UTC)
            return _pack(summarise_batches([batch], layouts, now=moment, version=version, role=role))

        return pack


def _segment_features(layouts: Mapping[str, RowLayout]) -> set[str]:
    return {name for layout in layouts.values() for name in layout.segment_features}


def _windows_of(table: Table, pack: Callable[[Sequence[pd.Series[Any]]], bytes]) -> Iterator[WindowRow]:
    """Summarise as many rows at once as Flink hands to a worker, and add up the same windows on the workers too."""
    import pandas
    from pyflink.table import DataTypes
    from pyflink.table.expressions import col
    from pyflink.table.udf import udaf, udf, udtf

    def summarise(*columns: pd.Series[Any]) -> pd.Series[Any]:
        """Return the windows of all these rows in the first place, as many places as there are rows."""
        return pandas.Series([pack(columns)] + [None] * (len(columns[0]) - 1))

    def unpack(packed: bytes) -> Iterator[tuple[Any, ...]]:
        yield from _unpack([packed])

    def merge(packed: pd.Series[Any]) -> bytes:
        return _pack(encoded(decoded(_unpack(packed))))

    bytes_type = DataTypes.BYTES()
    part = udf(summarise, result_type=bytes_type, func_type="pandas", deterministic=False)
    windows = udtf(unpack, result_types=_column_types())
    whole = udaf(merge, result_type=bytes_type, func_type="pandas")
    one = udf(lambda *cells: _pack([WindowRow(*cells)]), result_type=bytes_type)

    columns = [col(name) for name in table.get_schema().get_field_names()]
    parts = table.select(part(*columns).alias("packed")).where(col("packed").is_not_null)
    keys = [col(name) for name in _KEY]
    rows = parts.join_lateral(windows(col("packed")).alias(*_KEY, "rows", "summary")).select(
        *keys, one(*keys, col("rows"), col("summary")).alias("packed")
    )
    merged = rows.group_by(*keys).select(whole(col("packed")).alias("packed"))
    with merged.execute().collect() as results:
        for row in results:
            yield from _unpack([bytes(row[0])])


def _column_types() -> list[Any]:
    from pyflink.table import DataTypes

    return [
        DataTypes.STRING(), DataTypes.STRING(), DataTypes.BIGINT(), DataTypes.STRING(), DataTypes.BIGINT(),
        DataTypes.BYTES(),
    ]  # fmt: skip


def _pack(windows: Iterator[WindowRow] | list[WindowRow]) -> bytes:
    return msgspec.msgpack.encode(list(windows))


def _unpack(packed: Any) -> Iterator[WindowRow]:
    for one in packed:
        yield from msgspec.msgpack.decode(one, type=list[WindowRow])


def _to_arrow(column: pd.Series[Any]) -> pa.Array:
    """Make an array of a column; a time without a zone is in UTC, as everywhere in Driftline."""
    array = pa.Array.from_pandas(column)
    is_plain_time = pa.types.is_timestamp(array.type) and array.type.tz is None
    return array.cast(pa.timestamp("us", "UTC"), safe=False) if is_plain_time else array


def _centres_of(table: Table, names: Sequence[str]) -> dict[str, float] | None:
    """Choose the median of some rows of each column, and 0 for one without numbers; None without any row."""
    from pyflink.table.expressions import col

    schema = table.get_schema()
    kinds = dict(zip(schema.get_field_names(), schema.get_field_data_types(), strict=True))
    numbers = [name for name in names if name in kinds and str(kinds[name]).partition("(")[0] in _NUMBERS]
    sample = table.select(*[col(name) for name in numbers or ["timestamp"]]).limit(SAMPLED_ROWS).to_pandas()
    if sample.empty:
        return None
    centres = dict.fromkeys(names, 0.0)
    for name in numbers:
        values = sample[name].astype("float64")
        finite = values[values.abs() < float("inf")]
        centres |= {name: float(finite.median())} if len(finite) else {}
    return centres
