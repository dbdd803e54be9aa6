"""What a builder of variants takes, gives and raises."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inference.runtime.session import Array

if TYPE_CHECKING:
    from onnx import ModelProto

type Feed = dict[str, Array]
"""Rows by the name of the input that takes them."""


class DoesNotApply(Exception):
    """The graph has nothing that this kind changes; the text is a sentence that says why."""


@dataclass(frozen=True)
class Sample:
    """Rows that a builder may look at; made-up ones tell nothing of the ranges that real ones have."""

    feed: Feed
    is_made_up: bool


type Builder = Callable[["ModelProto", Sample], "ModelProto"]
