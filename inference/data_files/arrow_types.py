"""What Arrow's types are for: several of them are text."""

import pyarrow as pa


def is_text(kind: pa.DataType) -> bool:
    """Return whether values are text, whatever its length may be."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
