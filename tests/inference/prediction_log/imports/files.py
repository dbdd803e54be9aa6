"""Files to be imported, made by hand, and the import of one from its start to its end."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from inference.prediction_log.imports.bad_rows import path_of
from inference.prediction_log.imports.models import Import
from inference.prediction_log.imports.services import FileSender, import_file, run
from inference.registry.models import Model

HEADER = ["id", "timestamp", "prediction", "probability", "income", "region"]
SENDER = FileSender("test", "dl_test")


def row(number: int, **changes: Any) -> dict[str, Any]:
    """One good row."""
    return {
        "id": f"p-{number}",
        "timestamp": f"2026-01-05T{number % 24:02}:{number % 60:02}:00Z",
        "prediction": str(number % 2),
        "probability": 0.25 + number % 2 / 2,
        "income": number + 0.5,
        "region": "north" if number % 3 else "south",
    } | changes


def csv_bytes(rows: Sequence[Mapping[str, Any]], header: Sequence[str] | None = None) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, header or list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def parquet_file(path: Path, rows: Sequence[Mapping[str, Any]], **options: Any) -> Path:
    pq.write_table(pa.Table.from_pylist([dict(one) for one in rows]), path, **options)
    return path


def csv_file(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_bytes(csv_bytes(rows))
    return path


def started(
    model: Model, path: Path, kind: str = "predictions", version: str = "", *, force: bool = False
) -> Import:
    return import_file(model=model, kind=kind, path=path, version=version, sender=SENDER, force=force)[0]


def imported(
    model: Model, path: Path, kind: str = "predictions", version: str = "", *, force: bool = False
) -> Import:
    """Import a file to its end."""
    return run(started(model, path, kind, version, force=force).pk, stop=lambda _: False)


def bad_rows(job: Import) -> list[dict[str, str]]:
    content = path_of(job).read_bytes()[: job.bad_bytes].decode()
    return list(csv.DictReader(io.StringIO(content, newline="")))
