"""Columns of vectors: lists of numbers, as Arrow and Parquet have them."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from inference.vector_names import MAX_DIMENSION

MAX_GROUP_VALUES = 40_000_000
"""Of a column of lists in one row group of Parquet, which may all be of one row; Spark writes groups of 33 million."""


def is_vector(kind: pa.DataType) -> bool:
    """Return whether a column holds lists of numbers."""
    types = pa.types
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return is_list and (types.is_floating(kind.value_type) or types.is_integer(kind.value_type))


def lengths_of(column: pa.Array) -> NDArray[np.int64]:
    """Return how many numbers each row has; 0 where it has no list."""
    lengths: NDArray[np.int64] = (
        pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    )
    return lengths


def matrix_of(column: pa.Array, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the vectors of some rows, which have one length, a row each; a missing number is NaN."""
    numbers = column.take(pa.array(places)).flatten().cast(pa.float64(), safe=False)
    values: NDArray[np.float64] = numbers.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    return values.reshape(len(places), -1)


def oversized_lists(found: pq.FileMetaData) -> str | None:
    """Return a sentence where lists of a Parquet file are too long to be read, by its footer; None where they are not.

    A file of a few hundred bytes can hold billions of equal numbers, and a row is decoded as a whole.
    """
    lists = [
        place for place in range(found.num_columns) if found.schema.column(place).max_repetition_level > 0
    ]
    for group in range(found.num_row_groups if lists else 0):
        rows = found.row_group(group)
        for place in lists:
            column = rows.column(place)
            named = f"The lists {column.path_in_schema.partition('.')[0][:64]!r}"
            if column.num_values > max(rows.num_rows, 1) * MAX_DIMENSION:
                return (
                    f"{named} hold {column.num_values:,} values in {rows.num_rows:,} rows of a row group; a vector "
                    f"has up to {MAX_DIMENSION:,} numbers."
                )
            if column.num_values > MAX_GROUP_VALUES:
                return (
                    f"{named} hold {column.num_values:,} values in a row group, and up to {MAX_GROUP_VALUES:,} are "
                    "read at once; write the file with smaller row groups."
                )
    return None
