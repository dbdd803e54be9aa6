"""Which rows came with one request, by their ids."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

_OWN_ROW = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):\d+")
"""A row of several under an id that serving made (`common.ids.row_ids`); a caller's own id may end in ":7" too."""


def request_of(row_id: str, latency_us: float | None) -> str:
    """Return a name of the request that a row belongs to, which its other rows have too.

    Rows `id:0`, `id:1`, ... of an id that the caller chose are of one request where they have one latency, as
    `requests_of` says. Where the latency is not known (None), such a row is a request of its own.
    """
    if own := _OWN_ROW.fullmatch(row_id):
        return own[1]
    base, _, number = row_id.rpartition(":")
    return f"{base} {latency_us}" if latency_us is not None and number.isdecimal() else row_id


def requests_of(ids: NDArray[Any], latency_us: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number the request of each row: the rows of one waited together.

    Rows of several are called `id:0`, `id:1`, ... where a caller chose the request's id; other rows of a caller may be
    called so too, so these are of one request where they have one latency, or all have none (NaN).
    """
    named = [request_of(str(row_id), latency) for row_id, latency in zip(ids, latency_us, strict=True)]
    numbers: NDArray[np.int64] = np.unique(named, return_inverse=True)[1]
    return numbers
