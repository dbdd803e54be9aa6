"""The formats that files to be imported may have, and how one of each is opened."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pyarrow as pa

from inference.data_files.columns import FileReading, rewrite
from inference.prediction_log.imports.models import Import
from inference.prediction_log.imports.reading.csv_source import CsvSource
from inference.prediction_log.imports.reading.parquet_source import ParquetSource
from inference.prediction_log.imports.reading.source import Block, FilePosition, RowSource


class MappedSource:
    """A file of which each column is what a reading says; bad rows show its own columns and cells."""

    def __init__(self, source: RowSource, reading: FileReading) -> None:
        self._source, self._reading = source, reading
        self.names, self.start, self.total = source.names, source.start, source.total

    def sample(self) -> pa.Table:
        return rewrite(self._source.sample(), self._reading)

    def blocks(self, start: FilePosition, types: dict[str, pa.DataType]) -> Iterator[Block]:
        own_names = {stored: name for name, stored in self._reading.stored_names().items()}
        texts = self._reading.text_columns()
        own_types = {own_names.get(name, name): kind for name, kind in types.items()}
        own_types = {name: kind for name, kind in own_types.items() if name not in texts}
        for block in self._source.blocks(start, own_types):
            yield replace(block, table=rewrite(block.table, self._reading))


def open_source(path: Path, file_format: str, reading: FileReading | None = None) -> RowSource:
    """Open a file that was examined before, in UTF-8."""
    if reading is None or reading.is_plain:
        return CsvSource(path) if file_format == "csv" else ParquetSource(path)
    source = CsvSource(path, reading.format) if file_format == "csv" else ParquetSource(path)
    return MappedSource(source, reading)


def reading_of(job: Import) -> FileReading | None:
    """Return how the file of an import is read; None where the names of its columns say all."""
    return None if job.reading is None else msgspec.convert(job.reading, FileReading)
