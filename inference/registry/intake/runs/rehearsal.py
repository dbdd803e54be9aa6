"""Dry runs on made-up rows: what loads can still ask for 256 GiB, loop for ever, or mix up its rows."""

import time
from collections.abc import Sequence
from typing import Any

import onnx
import onnxruntime as ort

from inference.registry.intake.errors import IntakeRefused, shown
from inference.registry.intake.report import DryRun, Fill, ObservedOutput
from inference.registry.intake.runs.made_up_rows import Array, fills_of, make_up, observe, with_columns
from inference.registry.intake.runs.session import plain_reason, raise_if_out_of_memory
from inference.signatures import TensorSpec

_CATEGORIES = ("cats_strings", "keys_strings")


def rehearse(
    session: ort.InferenceSession, graph: onnx.GraphProto, inputs: list[TensorSpec], columns: int | None
) -> tuple[list[DryRun], dict[str, ObservedOutput]]:
    """Run 1 and 3 rows of each fill that the inputs allow.

    A model that fails on every typical row is refused, unless the rows could only be guessed: strings, whose
    categories may be unknown to us, and tensors of higher rank. Then the report tells.
    """
    categories = {spec.name: _known_category(spec.name, graph) for spec in inputs}
    specs = [with_columns(spec, columns if len(inputs) == 1 else None) for spec in inputs]
    runs: list[DryRun] = []
    observed: dict[str, ObservedOutput] = {}
    for fill in fills_of(inputs):
        for rows in (1, 3):
            feed = {spec.name: make_up(spec, rows, fill, categories[spec.name]) for spec in specs}
            run, outputs = _run(session, feed, rows, fill)
            runs.append(run)
            if fill == "typical" and rows == 3 and outputs:
                observed = _observe(session, outputs)
    _refuse_if_never_ran(runs, inputs)
    return runs, observed


def _run(
    session: ort.InferenceSession, feed: dict[str, Array], rows: int, fill: Fill
) -> tuple[DryRun, Sequence[Any]]:
    began = time.perf_counter()
    try:
        outputs: Sequence[Any] = session.run(None, feed)
        error = None
    except Exception as failure:
        raise_if_out_of_memory(failure)
        outputs, error = [], plain_reason(failure)
    return DryRun(rows, fill, round((time.perf_counter() - began) * 1e3, 3), error), outputs


def _refuse_if_never_ran(runs: list[DryRun], inputs: list[TensorSpec]) -> None:
    errors = [run.error for run in runs if run.fill == "typical"]
    guessed = any(spec.datatype == "BYTES" or len(spec.shape) > 2 for spec in inputs)
    if all(errors) and not guessed:
        raise IntakeRefused(
            "dry_run_failed", 422, f"The model loads but fails on a row of zeros: {shown(errors[0], 300)}."
        )
    if errors[0] is None and errors[1] is not None:
        raise IntakeRefused(
            "dry_run_failed",
            422,
            f"The model answers one row but not three: {shown(errors[1], 300)}. Export it with a variable "
            "number of rows.",
        )


def _observe(session: ort.InferenceSession, outputs: Sequence[Any]) -> dict[str, ObservedOutput]:
    return {
        argument.name: observe(value) for argument, value in zip(session.get_outputs(), outputs, strict=True)
    }


def _known_category(name: str, graph: onnx.GraphProto) -> str:
    """Follow an input to the first node that lists categories, and take one; "" where none does."""
    reached = {name}
    for node in graph.node:
        if reached.isdisjoint(node.input):
            continue
        for attribute in node.attribute:
            if attribute.name in _CATEGORIES and attribute.strings:
                return attribute.strings[0].decode("utf-8", "replace")
        reached.update(node.output)
    return ""
