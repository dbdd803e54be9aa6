"""The child's work, from the original's bytes to what its variant is worth."""

import heapq  # noqa: F401  Python and NumPy load these two late, and no file opens behind the walls
import os

import msgspec
import numpy.ma  # noqa: F401

from inference.registry.intake import sandbox
from inference.registry.trials.orders import (
    ORIGINAL,
    NotBuilt,
    OriginalAnswers,
    Outcome,
    Packed,
    Questions,
    Trial,
    TrialOrder,
    Unfit,
    pack,
    unpack,
)
from inference.runtime.session import Array, ModelRefused, OnnxSession, first_line
from inference.runtime.variants.base import DoesNotApply, Feed, Sample
from inference.runtime.variants.building import build_variant
from inference.runtime.variants.measuring import answer, time_in_turns


def examine(content: bytes, order: TrialOrder) -> Outcome | OriginalAnswers:
    """Build the variant of `content`, and compare both on the rows that the order names; or ask the model alone."""
    with os.fdopen(order.questions_handle, "rb") as file:
        questions = msgspec.msgpack.decode(file.read(), type=Questions)
    if order.kind == ORIGINAL:
        return _ask(content, _feed(questions.asked), order)
    try:
        built = build_variant(order.kind, content, Sample(_feed(questions.calibration), questions.is_made_up))
    except DoesNotApply as reason:
        return NotBuilt(str(reason))
    except Exception as error:  # builders meet graphs of every kind; the person who asked has to see why
        return NotBuilt(f"It could not be built ({type(error).__name__}: {first_line(error)}).")
    sandbox.allow_cpu(order.limits.run_cpu_s)
    feed = _feed(questions.asked)
    try:
        original = OnnxSession(content)
        expected = answer(original, feed, order.outputs)
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        return NotBuilt(f"The original itself fails on the rows to compare on: {first_line(error)}")
    try:
        return _compare(original, expected, built, feed, order.outputs)
    except ModelRefused as error:
        return Unfit(str(error))
    except Exception as error:
        return Unfit(f"It fails on rows that the original is asked: {first_line(error)}")


def _ask(content: bytes, feed: Feed, order: TrialOrder) -> OriginalAnswers | Unfit:
    sandbox.allow_cpu(order.limits.run_cpu_s)
    try:
        return OriginalAnswers(_packed(order.outputs, answer(OnnxSession(content), feed, order.outputs)))
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        return Unfit(f"It fails on the rows: {first_line(error)}")


def _compare(
    original: OnnxSession, expected: list[Array], built: bytes, feed: Feed, outputs: list[str]
) -> Trial:
    variant, rows = OnnxSession(built), len(expected[0])
    answered = {name: values[:rows] for name, values in feed.items()}
    return Trial(
        content=built,
        rows=rows,
        original=_packed(outputs, expected),
        variant=_packed(outputs, answer(variant, answered, outputs)),
        timings=time_in_turns(original, variant, answered, outputs),
    )


def _feed(packed: dict[str, Packed]) -> Feed:
    return {name: unpack(values) for name, values in packed.items()}


def _packed(outputs: list[str], answers: list[Array]) -> dict[str, Packed]:
    return {name: pack(values) for name, values in zip(outputs, answers, strict=True)}
