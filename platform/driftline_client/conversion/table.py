"""The caller's rows: what their columns are called, and how the ONNX model takes them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from driftline_client.errors import DriftlineError

TABLE = "X"
"""Name of the input where one tensor takes every column."""


@dataclass(frozen=True)
class Table:
    """Rows as the caller's own model takes them: a DataFrame, or an array whose first axis is the rows."""

    rows: Any
    names: list[str]
    """Columns of the DataFrame, or what the caller calls the columns of an array; empty for images and the like."""
    types: list[str]
    """`float`, `int`, `bool` or `string`, by column."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def is_frame(self) -> bool:
        return hasattr(self.rows, "iloc")

    @property
    def has_text(self) -> bool:
        return "string" in self.types

    @property
    def has_gaps(self) -> bool:
        """Return whether a number is missing."""
        floats = [place for place, kind in enumerate(self.types) if kind == "float"]
        return any(bool(np.isnan(self.column(place).astype(np.float64)).any()) for place in floats)

    def take(self, places: Any) -> "Table":
        """Take some of the rows."""
        chosen = self.rows.iloc[places] if self.is_frame else self.rows[places]
        return Table(chosen, self.names, self.types)

    def column(self, place: int) -> Any:
        """Return one column's values as the model sees them."""
        return self.rows.iloc[:, place].to_numpy() if self.is_frame else self.rows[:, place]

    def with_column(self, place: int, values: Any) -> "Table":
        """Return the same rows with other values in one column, in the column's type where that can hold them."""
        rows = self.rows.copy()
        if self.is_frame:
            rows.isetitem(place, values)
        else:
            rows[:, place] = values
        return Table(rows, self.names, self.types)

    def tensor(self) -> Any:
        """Return all columns as one tensor."""
        values = self.rows.to_numpy() if self.is_frame else np.asarray(self.rows)
        return values.astype(object if self.has_text else np.float32)

    def tensors(self) -> dict[str, Any]:
        """Return one tensor a column."""
        kinds = [object if kind == "string" else np.float32 for kind in self.types]
        return {
            name: self.column(place).astype(kind).reshape(-1, 1)
            for place, (name, kind) in enumerate(zip(self.names, kinds, strict=True))
        }


def read_table(rows: Any, features: list[str] | None) -> Table:
    """Read the rows that the caller gives; raises DriftlineError where they are none."""
    if hasattr(rows, "iloc") and hasattr(rows, "dtypes"):
        names = [str(name) for name in rows.columns]
        table = Table(rows.reset_index(drop=True), names, [_kind(kind) for kind in rows.dtypes])
    else:
        array = np.asarray(rows)
        if array.ndim < 2:
            raise DriftlineError(f"X has shape {array.shape}; give rows and columns, or a DataFrame.")
        names = list(features or [f"f{place}" for place in range(array.shape[1])]) if array.ndim == 2 else []
        table = Table(array, names, [_kind(array.dtype)] * len(names))
        if array.ndim == 2 and len(names) != array.shape[1]:
            raise DriftlineError(f"{len(names)} features are named and X has {array.shape[1]} columns.")
    if not len(table):
        raise DriftlineError("X has no rows; give some on which the converted model can be checked.")
    return table


def _kind(dtype: Any) -> str:
    if str(dtype) == "category":
        raise DriftlineError(
            "X has a column of pandas' type category, whose codes ONNX cannot know; encode it inside the pipeline "
            "(OrdinalEncoder, OneHotEncoder) and give the column as texts."
        )
    kind = getattr(dtype, "kind", "O")
    if kind in "MmcV":
        raise DriftlineError(f"X has a column of type {dtype}; turn it into numbers or texts first.")
    return {"f": "float", "i": "int", "u": "int", "b": "bool"}.get(kind, "string")
