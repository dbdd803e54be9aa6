"""Reads predictions that come as an Arrow IPC stream or file, whose columns are those of a file to be imported."""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from driftline.base.errors import Problem, invalid
from driftline.base.strict_json import escape_pointer
from driftline.base.ttl_cache import TtlCache
from inference.data_files.arrow_types import is_text
from inference.prediction_log.imports.reading.arrow_messages import extent_of
from inference.prediction_log.imports.reading.layout import FileLayout, layout_of_predictions
from inference.prediction_log.imports.reading.predictions import Reading, read_predictions
from inference.prediction_log.imports.reading.source import Block, FilePosition, UnreadableFile
from inference.prediction_log.ingest.parsing import MAX_ITEMS, skew_of, too_many_predictions
from inference.prediction_log.items import ItemFault
from inference.prediction_log.rows.sent_columns import PredictionBatch
from inference.registry.models import Model

_FILE_START = b"ARROW1\x00\x00"  # a file is a stream between this and a table of contents
_OPTIONS = pa.ipc.IpcReadOptions(use_threads=False)
_KNOWN_SCHEMA = 64 << 10  # bytes: the layout of a longer one is found anew each time
_layouts: TtlCache[tuple[int, bytes], FileLayout] = TtlCache()  # by model and schema


def read_arrow(body: bytes, *, model: Model, cap: int, now: datetime) -> PredictionBatch:
    """Read a batch of predictions; `cap` bounds its bytes once all of it is unpacked.

    Whole requests that cannot be read raise Problem; rows that cannot be kept come back as faults by their place.
    """
    table = _read_table(body, cap)
    sent_at = (table.schema.metadata or {}).get(b"sent_at")
    skew = skew_of(sent_at.decode("utf-8", "replace") if sent_at else None, now)
    try:
        layout = _layout(model, table.schema)
        table.validate(full=True)
        _refuse_long_texts(table, cap)
        return _read(table, layout, model, skew=skew, now=now)
    except (pa.ArrowException, UnicodeDecodeError) as error:  # also of a column's name
        raise _malformed(error) from error
    except UnreadableFile as error:
        raise Problem(422, "too_many_versions", str(error)) from error


def _read_table(body: bytes, cap: int) -> pa.Table:
    stream = pa.py_buffer(body)
    if body.startswith(_FILE_START):
        stream = stream.slice(len(_FILE_START))
    try:
        extent = extent_of(stream)
        if extent.unpacked_bytes > cap:
            raise _too_large(cap)
        if extent.rows > MAX_ITEMS:
            raise too_many_predictions()
        with pa.ipc.open_stream(stream, options=_OPTIONS) as reader:
            table = reader.read_all()
    except (pa.ArrowException, ValueError, OSError, EOFError) as error:
        raise _malformed(error) from error
    if not 0 < table.num_rows <= MAX_ITEMS:
        raise Problem(422, "empty_batch", "The request holds no predictions.")
    return table


def _layout(model: Model, schema: pa.Schema) -> FileLayout:
    key = schema.serialize().to_pybytes()
    if len(key) > _KNOWN_SCHEMA:
        return _find_layout(model, schema)
    return _layouts.get((model.pk, key), lambda: _find_layout(model, schema))


def _find_layout(model: Model, schema: pa.Schema) -> FileLayout:
    layout = layout_of_predictions(model, schema.empty_table())
    for name in ("id", "version"):
        if name not in layout.own:
            raise invalid(
                f"/{name}", f"The column {name!r} is missing; each row needs one.", "missing_column"
            )
    for name in ("label", "label_timestamp"):
        if name in layout.own:
            raise invalid(
                f"/{name}", "Send labels to the model's labels, by the ids of these rows.", "unknown_field"
            )
    return layout


def _refuse_long_texts(table: pa.Table, cap: int) -> None:
    """Refuse texts that are short as a dictionary and long as rows: that is how the log keeps them."""
    total = 0
    for place, kind in enumerate(table.schema.types):
        if not (pa.types.is_dictionary(kind) and is_text(kind.value_type)):
            continue
        for chunk in table.column(place).chunks:
            sizes = pc.binary_length(chunk.dictionary).cast(pa.int64())
            total += pc.sum(sizes.take(chunk.indices)).as_py() or 0
    if total > cap:
        raise _too_large(cap)


def _read(
    table: pa.Table, layout: FileLayout, model: Model, *, skew: timedelta | None, now: datetime
) -> PredictionBatch:
    rows = table.num_rows
    block = Block(
        table=table,
        places=np.arange(rows),
        torn=[],
        start=FilePosition(0),
        end=FilePosition(rows, rows),
        lines=None,
        cells_of=lambda place: [],  # asked for the file of an import's bad rows alone
    )
    reading = Reading(layout, model.task, version="", digest="", now=now, skew=skew)
    found = read_predictions(block, reading)
    faults = {}
    for place, fault in found.refusals.faults.items():
        given = found.ids[place]
        pointer = f"/{place}/{escape_pointer(fault.column)}" if fault.column else f"/{place}"
        faults[place] = ItemFault(given or None, fault.code, fault.detail, pointer)
    return PredictionBatch(found.columns, faults, skew=skew)


def _too_large(cap: int) -> Problem:
    return Problem(
        413, "body_too_large", f"The body is larger than {cap >> 20:,} MiB once unpacked; send it in parts."
    )


def _malformed(error: Exception) -> Problem:
    return Problem(
        400, "malformed_arrow", f"The body is no Arrow IPC stream that can be read: {str(error)[:200]}"
    )
