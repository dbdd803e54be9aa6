"""Writes the rows of many small chunks as one large one in half the bytes, and reads such columns back.

A number that was sent as decimal text, such as 12.34, fills eight bytes that no compressor can shorten. Where every
value of a column is a whole number of hundredths (or of another power of ten) it is kept as that whole number in four
bytes, and where float32 holds all of them exactly, as float32: both give the same float64 back, bit for bit. The idea
is that of ALP (Afroozeh, Kuffo and Boncz 2023, https://doi.org/10.1145/3626717), with one exponent a column.

On 10,000 rows of 30 normal features with six decimals: lz4 285 bytes a row, zstd 257, packed with lz4 166, packed with
zstd at level 1 130 (reading 0.2 us a row), at level 9 130 with five times the time to write.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_IPC = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1), use_threads=False)
_DECIMALS = b"decimals"
_MAX_DECIMALS = 9
_MAX_INT32 = 2**31 - 1

type Shape = tuple[tuple[str, str], ...]


def shape_of(batch: pa.RecordBatch) -> Shape:
    """Return which columns there are and of which kind: only rows of one shape are read alike after they are merged."""
    return tuple((field.name, _kind(field.type)) for field in batch.schema)


def _kind(type_: pa.DataType) -> str:
    if pa.types.is_floating(type_) or pa.types.is_integer(type_):
        return "number"
    return str(type_)


def pack(batches: Sequence[pa.RecordBatch]) -> tuple[pa.RecordBatch, bytes]:
    """Merge batches of one shape, ordered by event time; gives the rows, and the IPC stream that holds them."""
    names = batches[0].schema.names
    joined = {name: _join([unpack(batch, name) for batch in batches]) for name in names}
    rows = pa.record_batch(joined)
    order = np.argsort(joined["time"].cast(pa.int64()).to_numpy(), kind="stable")
    if (np.diff(order) != 1).any():
        rows = rows.take(pa.array(order))
    fields, columns = zip(*(_narrowed(name, rows.column(name)) for name in names), strict=True)
    return rows, write(pa.RecordBatch.from_arrays(list(columns), schema=pa.schema(fields)))


def write(batch: pa.RecordBatch) -> bytes:
    """Write rows as they are, such as those that are left of a chunk."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_IPC) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def without_values(batch: pa.RecordBatch, names: Collection[str]) -> pa.RecordBatch:
    """Return rows without what is in some columns: nulls without a type tell it from values that were missing."""
    fields = [pa.field(field.name, pa.null()) if field.name in names else field for field in batch.schema]
    columns = [
        pa.nulls(batch.num_rows) if field.name in names else batch.column(field.name)
        for field in batch.schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _join(columns: list[pa.Array]) -> pa.Array:
    if len({column.type for column in columns}) > 1:  # numbers of several widths
        columns = [column.cast(pa.float64(), safe=False) for column in columns]
    return pa.concat_arrays(columns)


def _narrowed(name: str, column: pa.Array) -> tuple[pa.Field, pa.Array]:
    if column.type != pa.float64():
        return pa.field(name, column.type), column
    values = column.to_numpy(zero_copy_only=False)
    given = ~np.isnan(values)
    if (short := _as_float32(values, given)) is not None:
        return pa.field(name, pa.float32()), pa.array(short)
    for decimals in range(_MAX_DECIMALS + 1):
        if (whole := _as_integers(values, given, decimals)) is not None:
            metadata = {_DECIMALS: str(decimals).encode()}
            return pa.field(name, pa.int32(), metadata=metadata), pa.array(whole, mask=~given)
    return pa.field(name, column.type), column


def _as_float32(values: NDArray[np.float64], given: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    with np.errstate(over="ignore"):
        short = values.astype(np.float32)
    return short if (short[given] == values[given]).all() else None


def _as_integers(
    values: NDArray[np.float64], given: NDArray[np.bool_], decimals: int
) -> NDArray[np.int32] | None:
    with np.errstate(over="ignore"):
        whole = np.where(given, np.rint(values * 10.0**decimals), 0)
    if np.abs(whole).max() > _MAX_INT32:
        return None
    kept = whole.astype(np.int32)
    is_same = _bits(kept / 10.0**decimals) == _bits(values)  # -0.0 is not 0.0
    return kept if is_same[given].all() else None


def _bits(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return values.view(np.int64)


def unpack_numbers(batch: pa.RecordBatch, name: str, into: NDArray[np.float64]) -> None:
    """Write a column of numbers as float64 into an array of its length; what is missing is NaN."""
    column, field = batch.column(name), batch.schema.field(name)
    values = column.to_numpy(zero_copy_only=False)
    decimals = (field.metadata or {}).get(_DECIMALS)
    if decimals is None:
        into[:] = values
    else:
        np.divide(values, 10.0 ** int(decimals), out=into)


def unpack(batch: pa.RecordBatch, name: str) -> pa.Array:
    """Return a column as it was sent, numbers perhaps as float32."""
    column, field = batch.column(name), batch.schema.field(name)
    decimals = (field.metadata or {}).get(_DECIMALS)
    if decimals is None:
        return column
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False).astype(np.float64)
    return pa.array(values / 10.0 ** int(decimals))
