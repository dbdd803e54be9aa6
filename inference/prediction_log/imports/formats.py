"""The formats that files to be imported may have, and how one of each is opened."""

from pathlib import Path

from inference.prediction_log.imports.csv_source import CsvSource
from inference.prediction_log.imports.parquet_source import ParquetSource
from inference.prediction_log.imports.source import RowSource


def open_source(path: Path, file_format: str) -> RowSource:
    """Open a file that was examined before."""
    return CsvSource(path) if file_format == "csv" else ParquetSource(path)
