"""What is logged: one record for each micro-batch and version, and how requests ended since the last such record."""

from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct

Role = Literal["champion", "shadow", "canary", "direct"]
ColumnKind = Literal["f4", "f8", "i8", "s", "v4"]


class FeatureColumn(Struct, frozen=True, array_like=True, gc=False):
    """One feature's values: little-endian raw bytes (NaN is missing), or texts where `kind` is "s".

    Of "v4" each row has as many float32, one row after the other.
    """

    name: str
    kind: ColumnKind
    data: bytes | list[str | None]


class FeatureTable(Struct, frozen=True, gc=False):
    """All features where they are numbers of one kind: little-endian raw bytes (NaN is missing), row after row.

    That is how a batch stands in memory: the hot path need not cut it into columns.
    """

    names: list[str]
    kind: ColumnKind
    data: bytes


class LoggedBatch(Struct, frozen=True, array_like=True):
    """The rows that one run of one version answered.

    `keyed` says that the caller chose the ids. `latency_us` runs from the request's arrival to the model's
    answer; a shadow's is the champion's with its own run in place of the champion's, so that pairs compare.
    `received_us` is the arrival of the first row. `prediction` is the class's text a row, or float64 bytes for
    a number; `probabilities` are float32 bytes, rows x classes, row after row, both classes for a binary model.
    `thumbnails` are PNGs of the images that some of the rows are.
    """

    model_id: int
    version_id: int
    role: Role
    generation: int
    ids: list[str]
    client_ids: list[str | None] | None
    keyed: bool
    event_time_us: list[int]
    received_us: int
    latency_us: list[int]
    features: list[FeatureColumn] | FeatureTable
    prediction: list[str] | bytes
    probabilities: bytes | None
    subjects: list[str | None] | None
    tags: list[dict[str, str] | None] | None
    thumbnails: list[bytes | None] | None = None


class EndedRequests(Struct, frozen=True, array_like=True):
    """How many requests of one version in one role ended one way; a version is named as in the plan."""

    model_id: int
    version: str
    role: Role
    outcome: str
    requests: int


class WaitedRequests(Struct, frozen=True, array_like=True):
    """How long requests of one version in one role waited for a run, counted by the limits of `WAIT_SECONDS`."""

    model_id: int
    version: str
    role: Role
    counts: list[int]


class RequestCounts(Struct, frozen=True):
    """How the requests ended that one process took since its last such record, on the hour they are counted in.

    `token_uses` has the digests of tokens that it let in, with POSIX times.
    """

    hour_s: int
    ended: list[EndedRequests]
    waited: list[WaitedRequests] = []
    token_uses: dict[str, float] = {}


type Record = LoggedBatch | RequestCounts

_WORDS = {"f4": np.uint32, "f8": np.uint64, "i8": np.uint64}  # moved as they are
_encoder = msgspec.msgpack.Encoder()
_batches = msgspec.msgpack.Decoder(LoggedBatch)
_counts = msgspec.msgpack.Decoder(RequestCounts)


def encode_record(record: Record) -> bytes:
    """Turn a record into the spool's payload."""
    return _encoder.encode(record)


def decode_record(payload: bytes) -> Record:
    """Turn a spool's payload back into a record.

    Raises msgspec.DecodeError where the payload is no record.
    """
    is_map = payload[0] & 0xF0 == 0x80  # counts are a map, a batch is an array
    if is_map:
        return _counts.decode(payload)
    return _batches.decode(payload)


def feature_columns(features: list[FeatureColumn] | FeatureTable) -> list[FeatureColumn]:
    """Return features by column, however they were logged."""
    return cut_columns(features) if isinstance(features, FeatureTable) else features


def cut_columns(table: FeatureTable) -> list[FeatureColumn]:
    """Cut a table into its columns."""
    values = np.frombuffer(table.data, _WORDS[table.kind]).reshape(-1, len(table.names))
    raw = values.T.tobytes()
    size = len(values) * values.itemsize
    return [
        FeatureColumn(name, table.kind, raw[start : start + size])
        for name, start in zip(table.names, range(0, len(raw), size), strict=True)
    ]
