"""Reads a Parquet file in blocks of rows, text as dictionaries: a small file can hold a long text a million times."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from driftline.base.errors import Problem
from inference.data_files.arrow_types import is_text
from inference.data_files.vectors import oversized_lists
from inference.prediction_log.imports.reading.source import Block, FilePosition, UnreadableFile, block_rows

MAX_FOOTER_BYTES = 64 << 20
_BUFFER = 64 << 10  # of each column


class ParquetSource:
    """A Parquet file with columns of values and of lists of numbers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            schema = pq.read_schema(path)
            text = [field.name for field in schema if is_text(field.type)]
            self._file = pq.ParquetFile(
                path,
                read_dictionary=text,
                buffer_size=_BUFFER,
                pre_buffer=False,
                thrift_string_size_limit=MAX_FOOTER_BYTES,
                thrift_container_size_limit=1_000_000,
            )
        except (pa.ArrowException, OSError, ValueError) as error:
            raise Problem(
                422, "not_parquet", f"The Parquet file cannot be read: {str(error)[:200]}"
            ) from error
        if fault := oversized_lists(self._file.metadata):
            raise Problem(413, "lists_too_long", fault)
        self.start = FilePosition(0)
        self.total = int(self._file.metadata.num_rows)
        self.names = list(self._file.schema_arrow.names)

    @property
    def schema(self) -> pa.Schema:
        return self._file.schema_arrow

    def sample(self) -> pa.Table:
        """Return the columns without rows: they have types of their own, and nothing is decoded until a worker does."""
        return self.schema.empty_table()

    def blocks(self, start: FilePosition, types: dict[str, pa.DataType]) -> Iterator[Block]:
        try:
            for batch in self._batches(start.rows):
                block = self._block(pa.Table.from_batches([batch]), start)
                yield block
                start = block.end
        except MemoryError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UnreadableFile(
                f"The Parquet file cannot be read after row {start.rows:,}: {str(error)[:200]}"
            ) from error
        if start.rows != self.total:
            raise UnreadableFile(
                f"The Parquet file declares {self.total:,} rows and ends after {start.rows:,}."
            )

    def _batches(self, skipped: int) -> Iterator[pa.RecordBatch]:
        """Read on after `skipped` rows, without decoding the row groups that lie wholly before."""
        for group in range(self._file.metadata.num_row_groups):
            rows = self._file.metadata.row_group(group).num_rows
            if skipped >= rows:
                skipped -= rows
                continue
            for batch in self._file.iter_batches(
                batch_size=block_rows(self._cells_in_row(group)), row_groups=[group], use_threads=False
            ):
                dropped = min(skipped, batch.num_rows)
                skipped -= dropped
                if dropped < batch.num_rows:
                    yield batch.slice(dropped)

    def _cells_in_row(self, group: int) -> int:
        """Return how many values a row of a group has on average, those of its lists counted one by one."""
        found = self._file.metadata.row_group(group)
        values = sum(found.column(place).num_values for place in range(found.num_columns))
        return max(len(self.names), -(-values // max(found.num_rows, 1)))

    def _block(self, table: pa.Table, start: FilePosition) -> Block:
        end = start.rows + table.num_rows
        return Block(
            table=table,
            places=np.arange(table.num_rows),
            torn=[],
            start=start,
            end=FilePosition(end, end),
            lines=None,
            cells_of=lambda place: [
                "" if value is None else str(value) for value in table.slice(place, 1).to_pylist()[0].values()
            ],
        )
