"""Null distributions as bytes: 5 to 7 kB a column in place of 56 in memory.

Each draw keeps 16 significant bits and is rounded away from zero: a window whose statistic equals a draw still does not
exceed it. Successive draws lie close together, so of most differences one byte is left.
"""

from __future__ import annotations

import msgspec
import numpy as np
import zstandard

from monitors.stats.drift.thresholds import NullDistributions
from monitors.stats.mergeable.byte_planes import shuffle, unshuffle
from monitors.stats.mergeable.sketches import FloatArray

_BITS_LEFT_OUT = 37  # of the 52 after the first significant one


def encode_null(null: NullDistributions) -> bytes:
    """Pack a column's null distributions for storage; `decode_null` gives them with rounded draws."""
    return zstandard.compress(msgspec.msgpack.encode(null, enc_hook=_pack), 3)


def decode_null(data: bytes) -> NullDistributions:
    """Unpack what `encode_null` packed."""
    return msgspec.msgpack.decode(zstandard.decompress(data), type=NullDistributions, dec_hook=_unpack)


def _pack(draws: FloatArray) -> bytes:
    cells = -(-draws.view(np.int64) >> _BITS_LEFT_OUT)
    return shuffle(np.diff(cells, prepend=0).astype(np.int32))


def _unpack(_: type, data: bytes) -> FloatArray:
    cells = np.cumsum(unshuffle(data, np.int32), dtype=np.int64)
    return (cells << _BITS_LEFT_OUT).view(np.float64)
