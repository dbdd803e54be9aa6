"""Reads which columns chunks have from their first bytes."""

from collections.abc import Iterator

import pyarrow as pa
from django.db.models import BinaryField, F, Func, QuerySet, Value

from inference.prediction_log.encryption.sealed_chunks import (
    ChunkDamaged,
    damage_named,
    is_sealed,
    open_stored,
)
from inference.prediction_log.models import PredictionChunk

_HEAD_BYTES = 16 << 10  # of a chunk, enough for the names of some hundred features
_MAX_SCHEMA_BYTES = 16 << 20  # more than the longest names of as many features as an item may have


def schemas_of(chunks: QuerySet[PredictionChunk]) -> Iterator[tuple[int, pa.Schema]]:
    """Return the key and the schema of each chunk; a damaged one has no column."""
    heads = chunks.annotate(head=_first_bytes(_HEAD_BYTES)).values_list("pk", "head")
    for pk, head in heads.iterator(chunk_size=256):
        try:
            schema = _schema(pk, bytes(head))
        except ChunkDamaged:
            schema = pa.schema([])
        yield pk, schema


def _schema(pk: int, head: bytes) -> pa.Schema:
    """Read the schema that stands first in an Arrow stream: 4 bytes of a mark, 4 of its length, and itself.

    Sealed bytes open whole or not at all.
    """
    if is_sealed(head):
        [payload] = PredictionChunk.objects.filter(pk=pk).values_list("payload", flat=True)
        return _read(open_stored(payload))
    needed = 8 + int.from_bytes(head[4:8], "little")
    if needed > _MAX_SCHEMA_BYTES:
        raise ChunkDamaged(f"its schema is said to have {needed:,} bytes.")
    if needed > len(head):
        [head] = PredictionChunk.objects.filter(pk=pk).values_list(_first_bytes(needed), flat=True)
    return _read(bytes(head)[:needed])


def _read(stream: bytes | memoryview) -> pa.Schema:
    with damage_named():
        return pa.ipc.read_schema(pa.py_buffer(stream))


def _first_bytes(count: int) -> Func:
    return Func(F("payload"), Value(1), Value(count), function="substring", output_field=BinaryField())
