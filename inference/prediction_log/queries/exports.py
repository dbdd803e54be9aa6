"""Writes the log to a Parquet file, with the labels beside their predictions, chunk by chunk in constant memory.

The columns are those that an import takes, so that one installation's export is another's import.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from django.db.models import QuerySet

from driftline.base.accounts.services import record_audit
from driftline.base.periods import day_of
from inference.image_names import whole_by_name
from inference.prediction_log.encryption.sealed_chunks import ChunkDamaged
from inference.prediction_log.items import as_objects
from inference.prediction_log.labels.selectors import current_labels
from inference.prediction_log.models import PredictionChunk
from inference.prediction_log.rows.columns import THUMBNAIL
from inference.prediction_log.rows.sent_items import NUMERIC_TASKS
from inference.prediction_log.rows_kept import refuse_without_rows
from inference.prediction_log.schemas import UnreadableRows
from inference.prediction_log.storage.chunk_rows import read_rows
from inference.prediction_log.storage.chunk_schemas import schemas_of
from inference.prediction_log.storage.damaged_chunks import describe_damaged
from inference.prediction_log.storage.folded_labels import FoldedLabels
from inference.prediction_log.storage.packing import unpack
from inference.prediction_log.storage.snapshot import one_snapshot
from inference.registry.models import Model
from inference.registry.selectors import get_version, signature_of
from inference.signatures import Signature

GROUP_ROWS = 50_000
GROUP_BYTES = 16 << 20  # or as many rows as take so much: an item may have 64 KiB
_US = timedelta(microseconds=1)
_TIME = pa.timestamp("us", "UTC")
_BEFORE: dict[str, pa.DataType] = {
    "id": pa.string(),
    "timestamp": _TIME,
    "version": pa.string(),
    "role": pa.string(),
}
_AFTER: dict[str, pa.DataType] = {
    "latency_ms": pa.float64(),
    "client_id": pa.string(),
    "subject": pa.string(),
    "tags": pa.string(),
    "label": pa.string(),
    "label_timestamp": _TIME,
}
LOG_COLUMNS = frozenset({*_BEFORE, *_AFTER, "prediction"})
"""What every file has, whatever the features are."""


@dataclass(frozen=True)
class Wanted:
    """Which rows of a model's log are exported: those of `[start, end)`, of one role and version where named."""

    model: Model
    start: datetime | None = None
    end: datetime | None = None
    role: str = ""
    version: str = ""

    def chunks(self) -> QuerySet[PredictionChunk]:
        """Find the chunks that hold such rows; the days let the database open their partitions alone."""
        chunks = PredictionChunk.objects.filter(model=self.model)
        if self.start:
            chunks = chunks.filter(end__gte=self.start, day__gte=day_of(self.start))
        if self.end:
            chunks = chunks.filter(start__lt=self.end, day__lte=day_of(self.end))
        if self.role:
            chunks = chunks.filter(role=self.role)
        if self.version:
            chunks = chunks.filter(version=get_version(model=self.model, version=self.version))
        return chunks.order_by("day", "start", "pk")


@dataclass(frozen=True)
class Exported:
    """What a file holds, and what it cannot: rows of damaged chunks, described."""

    rows: int
    unreadable: list[UnreadableRows]

    @property
    def unreadable_rows(self) -> int:
        return sum(chunk["rows"] for chunk in self.unreadable)


def export_predictions(*, wanted: Wanted, sink: IO[bytes], actor: str) -> Exported:
    """Write the rows to `sink` and return what was written; leaves an audit row.

    Rows of a damaged chunk are left out; the file's metadata names them under `driftline.unreadable`.
    """
    refuse_without_rows(wanted.model, "An export")
    with one_snapshot():
        exported = write_rows(wanted, sink)
        record_audit(
            project=wanted.model.project,
            actor=actor,
            action="predictions.export",
            subject=wanted.model.name,
            after={
                "from": wanted.start.isoformat() if wanted.start else None,
                "to": wanted.end.isoformat() if wanted.end else None,
                "role": wanted.role or None,
                "version": wanted.version or None,
                "rows": exported.rows,
                **({"unreadable_rows": exported.unreadable_rows} if exported.unreadable else {}),
            },
        )
    return exported


def write_rows(
    wanted: Wanted, sink: IO[bytes], *, reserved: Collection[str] = (), without: Collection[str] = ()
) -> Exported:
    """Write the rows to `sink`, in the caller's snapshot; a feature with a `reserved` name gets another.

    Features `without` which the file is to be have no column, and neither have the numbers of such vectors.
    """
    chunks = wanted.chunks()
    layout = _Layout.of(wanted.model, chunks, reserved, without)
    with pq.ParquetWriter(sink, layout.schema, compression="zstd") as writer:
        damaged: dict[int, str] = {}
        rows = sum(_write_groups(writer, _tables(wanted, chunks, layout, damaged)))
        exported = Exported(rows, _describe_damaged(chunks, damaged, layout))
        if damaged:
            writer.add_key_value_metadata({"driftline.unreadable": json.dumps(exported.unreadable)})
    return exported


def _describe_damaged(
    chunks: QuerySet[PredictionChunk], damaged: dict[int, str], layout: "_Layout"
) -> list[UnreadableRows]:
    if not damaged:
        return []
    return [chunk.describe(layout.versions) for chunk in describe_damaged(chunks, damaged)]


def _write_groups(writer: pq.ParquetWriter, tables: Iterator[pa.Table]) -> Iterator[int]:
    """Write row groups of about GROUP_ROWS or GROUP_BYTES, however small the chunks are."""
    waiting: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        waiting.append(table)
        rows, size = rows + table.num_rows, size + table.nbytes
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            yield _write_group(writer, waiting)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield _write_group(writer, waiting)


def _write_group(writer: pq.ParquetWriter, parts: list[pa.Table]) -> int:
    table = pa.concat_tables(parts)
    writer.write_table(table)
    return int(table.num_rows)


# -- columns -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Layout:
    """The file's columns: a feature is text where any chunk has it as text."""

    schema: pa.Schema
    features: dict[str, str]  # the log's name -> the file's
    classes: list[str]
    versions: dict[int, str]
    signatures: dict[int, Signature]

    @classmethod
    def of(
        cls,
        model: Model,
        chunks: QuerySet[PredictionChunk],
        reserved: Collection[str],
        without: Collection[str],
    ) -> "_Layout":
        found = list(model.versions.select_related("model"))
        signatures = {version.pk: signature_of(version) for version in found}
        kinds, has_probability = _stored_columns(chunks)
        classes = list(dict.fromkeys(name for one in signatures.values() for name in one.classes))
        names = _BEFORE | {"prediction": pa.float64() if model.task in NUMERIC_TASKS else pa.string()}
        if has_probability and model.task == "binary":
            names["probability"] = pa.float64()
        elif has_probability:
            names |= {f"probability_{name}": pa.float64() for name in classes}
        names |= _AFTER
        taken = {*names, *reserved}
        features = {
            name: f"feature_{name}" if name in taken else name
            for name in kinds
            if name not in without and whole_by_name(name) not in without
        }
        names |= {column: kinds[name] for name, column in features.items()}
        return cls(
            pa.schema(list(names.items())),
            features,
            classes,
            {version.pk: version.version for version in found},
            signatures,
        )


def _stored_columns(chunks: QuerySet[PredictionChunk]) -> tuple[dict[str, pa.DataType], bool]:
    """Read the chunks' schemas alone: which features they hold, as text or numbers, and whether any has scores."""
    kinds: dict[str, pa.DataType] = {}
    has_probability = False
    for _, schema in schemas_of(chunks):
        has_probability |= "probability" in schema.names
        for field in schema:
            if field.name.startswith("f:") and not pa.types.is_null(field.type):
                is_text = pa.types.is_string(field.type) or kinds.get(field.name[2:]) == pa.string()
                kinds[field.name[2:]] = pa.string() if is_text else pa.float64()
    return kinds, has_probability


# -- rows --------------------------------------------------------------------------------------------------------------
def _tables(
    wanted: Wanted, chunks: QuerySet[PredictionChunk], layout: _Layout, damaged: dict[int, str]
) -> Iterator[pa.Table]:
    """Read the rows chunk by chunk; one that cannot be read is added to `damaged`, with the reason."""
    fields = ("pk", "version_id", "role", "start", "end", "payload", "labels")
    for pk, version_id, role, start, end, payload, folded in chunks.values_list(*fields).iterator(
        chunk_size=2
    ):
        try:
            table = _read(payload)
            ids = table["id"].to_pylist()
            labels = _labels(wanted.model, role, start, end + _US, ids, folded)
        except ChunkDamaged as error:
            damaged[pk] = error.reason
            continue
        stored = _inside(
            table.append_column("label", labels[0]).append_column("label_timestamp", labels[1]), wanted
        )
        if stored.num_rows:
            yield _table(stored, version_id, role, layout)


def _read(payload: bytes | memoryview) -> pa.Table:
    """Read a chunk's rows with their numbers as they were sent, not as they were packed."""
    batch = read_rows(payload, without=(THUMBNAIL,))
    return pa.table({name: unpack(batch, name) for name in batch.schema.names})


def _inside(stored: pa.Table, wanted: Wanted) -> pa.Table:
    if wanted.start:
        stored = stored.filter(pc.greater_equal(stored["time"], pa.scalar(wanted.start, _TIME)))
    if wanted.end:
        stored = stored.filter(pc.less(stored["time"], pa.scalar(wanted.end, _TIME)))
    return stored


def _labels(
    model: Model, role: str, start: datetime, end: datetime, ids: list[str], folded: bytes | memoryview | None
) -> tuple[pa.Array, pa.Array]:
    """Return the labels of one chunk's rows, and the times at which they became true."""
    found = current_labels(model, [role], start, end)
    held = FoldedLabels.read(folded)
    values, times_us = as_objects([None] * len(ids)), np.zeros(len(ids), np.int64)
    values[held.places[held.is_current]] = held.values[held.is_current]
    times_us[held.places[held.is_current]] = held.labelled_us[held.is_current]
    for place, holding in enumerate(map(found.get, ids)):
        if holding is not None:
            values[place], times_us[place] = holding.value, holding.labelled_us
    return pa.array(values, pa.string()), pa.array(times_us, _TIME, mask=times_us == 0)


def _table(
    stored: pa.Table,
    version_id: int,
    role: str,
    layout: _Layout,
) -> pa.Table:
    rows = stored.num_rows
    columns: dict[str, Any] = {
        "id": stored["id"],
        "timestamp": stored["time"],
        "version": pa.repeat(layout.versions[version_id], rows),
        "role": pa.repeat(role, rows),
        "prediction": stored["prediction"],
        "latency_ms": pc.divide(stored["latency_us"].cast(pa.float64()), 1e3),
        "client_id": stored["client_id"],
        "subject": stored["subject"],
        "tags": stored["tags"],
        "label": stored["label"],
        "label_timestamp": stored["label_timestamp"],
    }
    columns |= _probabilities(stored, layout.signatures[version_id])
    columns |= {
        layout.features[name[2:]]: stored[name]
        for name in stored.schema.names
        if name.startswith("f:") and name[2:] in layout.features
    }
    return pa.table(
        [
            _cast(columns[field.name], field.type) if field.name in columns else pa.nulls(rows, field.type)
            for field in layout.schema
        ],
        schema=layout.schema,
    )


def _probabilities(stored: pa.Table, signature: Signature) -> dict[str, Any]:
    if "probability" not in stored.schema.names:
        return {}
    column = stored["probability"].combine_chunks()
    if not pa.types.is_fixed_size_list(column.type):
        return {"probability": column}
    matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(stored.num_rows, -1)
    return {
        f"probability_{name}": np.ascontiguousarray(matrix[:, place])
        for place, name in enumerate(signature.classes[: matrix.shape[1]])
    }


def _cast(values: Any, kind: pa.DataType) -> Any:
    """Convert a column to the file's type; what is missing is null, not NaN."""
    column = pa.chunked_array([pa.array(values)]) if isinstance(values, np.ndarray) else values
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    return column if column.type == kind else column.cast(kind)
