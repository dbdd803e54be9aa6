"""What a trial is ordered with, and what it ends with."""

import math
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from inference.registry.intake.limits import MIB, IntakeLimits
from inference.runtime.variants.measuring import Timing

type Array = NDArray[Any]

ORIGINAL = ""
"""The kind of an order that wants no variant, but the model's own answers."""
LIMITS = IntakeLimits(load_cpu_s=40, run_cpu_s=60, wall_s=120.0, report_bytes=64 * MIB)
"""Of a trial of a small file: to build, then to answer the rows twice and to be timed. `limits_for` adds to them."""


class Packed(Struct, frozen=True):
    """An array on its way between two processes: its bytes, or its texts, in C order."""

    kind: Literal[
        "float16", "float32", "float64", "bool", "str",
        "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    ]  # fmt: skip
    shape: list[int]
    content: bytes | list[str]


def pack(values: Array) -> Packed:
    """Write an array for the other process; objects are texts."""
    if values.dtype.kind in "OU":
        return Packed("str", list(values.shape), [str(value) for value in values.ravel().tolist()])
    return Packed(values.dtype.name, list(values.shape), np.ascontiguousarray(values).tobytes())  # type: ignore[arg-type]


def unpack(packed: Packed) -> Array:
    """Read an array of the other process; ValueError where its size is not what its shape says."""
    if isinstance(packed.content, list):
        if math.prod(packed.shape) != len(packed.content) or packed.kind != "str":
            raise ValueError(f"{len(packed.content)} texts have not the shape {packed.shape}.")
        return np.array(packed.content, object).reshape(packed.shape)
    return np.frombuffer(packed.content, packed.kind).reshape(packed.shape)


class Questions(Struct, frozen=True):
    """The rows of a trial, by input: those that a builder may look at, and those that both models are asked.

    `is_made_up` says of the former that nobody ever sent such rows.
    """

    calibration: dict[str, Packed]
    asked: dict[str, Packed]
    is_made_up: bool


class TrialOrder(Struct, frozen=True):
    """What the launcher asks of the child; `questions_handle` is an open file of `Questions` (msgpack)."""

    kind: str
    outputs: list[str]
    questions_handle: int
    limits: IntakeLimits


class Trial(Struct, frozen=True, tag="trial"):
    """A variant that loads and runs; `rows` of those asked were answered, which is fewer for a slow model."""

    content: bytes
    rows: int
    original: dict[str, Packed]
    variant: dict[str, Packed]
    timings: list[Timing]


class OriginalAnswers(Struct, frozen=True, tag="answers"):
    """What the model itself answers, where no variant is wanted."""

    by_output: dict[str, Packed]


class NotBuilt(Struct, frozen=True, tag="not_built"):
    """The graph offers nothing to this kind of variant, or no rows to compare on; `reason` is a sentence."""

    reason: str


class Unfit(Struct, frozen=True, tag="unfit"):
    """A variant that does not load or run, or a trial that used more than it may; `reason` is a sentence."""

    reason: str


Outcome = Trial | NotBuilt | Unfit
