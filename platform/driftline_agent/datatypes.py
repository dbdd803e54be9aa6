"""The datatypes of V2: how numpy holds each, and which values of JSON it takes."""

from typing import Any, NamedTuple

import numpy as np

_NUMBER: frozenset[type] = frozenset({int, float, type(None)})  # null is a missing number
_WHOLE = frozenset({int})


class Datatype(NamedTuple):
    """A datatype's type of numpy, and the types of Python that its JSON is read as."""

    dtype: Any
    json_types: frozenset[type]


DATATYPES = {
    "BOOL": Datatype(np.bool_, frozenset({bool})),
    "BYTES": Datatype(np.object_, frozenset({str})),
    "FP16": Datatype(np.float16, _NUMBER),
    "FP32": Datatype(np.float32, _NUMBER),
    "FP64": Datatype(np.float64, _NUMBER),
    "INT8": Datatype(np.int8, _WHOLE),
    "INT16": Datatype(np.int16, _WHOLE),
    "INT32": Datatype(np.int32, _WHOLE),
    "INT64": Datatype(np.int64, _WHOLE),
    "UINT8": Datatype(np.uint8, _WHOLE),
    "UINT16": Datatype(np.uint16, _WHOLE),
    "UINT32": Datatype(np.uint32, _WHOLE),
    "UINT64": Datatype(np.uint64, _WHOLE),
}
