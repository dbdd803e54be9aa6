"""What is logged: one record for each micro-batch and version."""

from typing import Literal

import msgspec
from msgspec import Struct

Role = Literal["champion", "shadow", "canary", "direct"]
ColumnKind = Literal["f4", "f8", "i8", "s"]


class FeatureColumn(Struct, frozen=True, array_like=True):
    """One feature's values: little-endian raw bytes (NaN is missing), or texts where `kind` is "s"."""

    name: str
    kind: ColumnKind
    data: bytes | list[str | None]


class LoggedBatch(Struct, frozen=True, array_like=True):
    """The rows that one run of one version answered.

    `keyed` says that the caller chose the ids. `latency_us` runs from the request's arrival to the model's
    answer; a shadow's is the champion's with its own run in place of the champion's, so that pairs compare.
    `received_us` is the arrival of the first row. `prediction` is the class's text a row, or float64 bytes for
    a number; `probabilities` are float32 bytes, rows x classes, row after row, both classes for a binary model.
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
    features: list[FeatureColumn]
    prediction: list[str] | bytes
    probabilities: bytes | None
    subjects: list[str | None] | None
    tags: list[dict[str, str] | None] | None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(LoggedBatch)


def encode_batch(batch: LoggedBatch) -> bytes:
    """Turn a batch into the spool's payload."""
    return _encoder.encode(batch)


def decode_batch(payload: bytes | memoryview) -> LoggedBatch:
    """Turn a spool's payload back into a batch; raise msgspec.DecodeError where it is none."""
    return _decoder.decode(payload)
