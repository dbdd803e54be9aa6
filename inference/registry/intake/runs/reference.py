"""A run on rows of the model's reference: what a version answers to real questions, before it answers for anybody."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from inference.registry.intake.limits import ReferenceRows
from inference.registry.intake.report import OutputOnReference, ReferenceRun
from inference.registry.intake.runs.made_up_rows import NUMPY_TYPES, Array
from inference.signatures import TensorSpec

type Ask = Callable[[dict[str, Array]], Sequence[Any]]

RUN_SECONDS = 1.5
"""After so long no further rows are asked: a slow model is known by fewer."""
_MAX_BATCH_ROWS = 50


def run_on_reference(
    ask: Ask,
    explain: Callable[[Exception], str],
    inputs: list[TensorSpec],
    outputs: list[str],
    features: list[str],
    missing: dict[str, str],
    rows: ReferenceRows,
) -> ReferenceRun | None:
    """Ask the model the reference's rows; None where the reference has not the columns that the model takes.

    `ask` runs a batch and gives `outputs` in order, `explain` says why it failed. `features` names the columns of
    one tensor in order; without names the inputs' own are taken. `missing` holds the text that stands for a missing
    string, by feature.
    """
    columns = _columns(inputs, features)
    if not columns or not columns.keys() <= rows.keys():
        return None
    feed = _feed(inputs, columns, missing, rows)
    began = time.perf_counter()
    answers: list[list[Array]] = []
    error = None
    try:
        for batch in _batches(feed):
            answers.append([np.asarray(value) for value in ask(batch)])
    except Exception as failure:
        error = explain(failure)
    return ReferenceRun(
        rows=sum(len(arrays[0]) for arrays in answers),
        milliseconds=round((time.perf_counter() - began) * 1e3, 1),
        error=error,
        outputs={
            name: _summary(np.concatenate([arrays[place] for arrays in answers]))
            for place, name in enumerate(outputs)
            if answers
        },
    )


def _columns(inputs: list[TensorSpec], features: list[str]) -> dict[str, TensorSpec]:
    """Map each feature to the tensor that takes it, in the order of one tensor's columns."""
    if any(len(spec.shape) > 2 for spec in inputs):
        return {}
    if len(inputs) > 1 or not features:
        return {spec.name: spec for spec in inputs}
    return dict.fromkeys(features, inputs[0])


def _feed(
    inputs: list[TensorSpec], columns: dict[str, TensorSpec], missing: dict[str, str], rows: ReferenceRows
) -> dict[str, Array]:
    """Join the columns of each tensor, without the rows that lack a whole number: those no request could ask."""
    values = {name: _values(spec, rows[name], missing.get(name, "")) for name, spec in columns.items()}
    askable = np.ones(len(next(iter(values.values()))), bool)
    for name, spec in columns.items():
        if spec.datatype not in ("BYTES", "FP16", "FP32", "FP64"):
            askable &= ~np.isnan(values[name])
    feed = {}
    for tensor in inputs:
        mine = [values[name][askable] for name, spec in columns.items() if spec is tensor]
        table = np.column_stack(mine) if len(tensor.shape) == 2 else mine[0]
        feed[tensor.name] = table.astype(NUMPY_TYPES.get(tensor.datatype, tensor.datatype.lower()))
    return feed


def _values(spec: TensorSpec, column: list[Any], token: str) -> Array:
    if spec.datatype == "BYTES":
        return np.array([token if value is None else str(value) for value in column], object)
    try:
        return np.array([np.nan if value is None else value for value in column], np.float64)
    except ValueError:  # the reference holds texts where the model takes numbers
        return np.full(len(column), np.nan)


def _batches(feed: dict[str, Array]) -> Iterator[dict[str, Array]]:
    """Cut the rows into batches that double from one row on, as many as fit into RUN_SECONDS at the pace so far.

    A run cannot be stopped, and one that goes past the CPU limit takes the whole upload with it.
    """
    total = len(next(iter(feed.values())))
    began, asked, size = time.perf_counter(), 0, 1
    while asked < total and size > 0:
        yield {name: values[asked : asked + size] for name, values in feed.items()}
        asked += size
        spent = time.perf_counter() - began
        size = min(2 * size, _MAX_BATCH_ROWS, int(asked * (RUN_SECONDS - spent) / spent))


def _summary(values: Array) -> OutputOnReference:
    constant = len(values) > 1 and bool((values == values[:1]).all())
    if values.dtype.kind not in "fiu":
        return OutputOnReference(finite_share=1.0, least=None, greatest=None, constant=constant)
    finite = values[np.isfinite(values)]
    return OutputOnReference(
        finite_share=float(np.isfinite(values).mean()),
        least=float(finite.min()) if finite.size else None,
        greatest=float(finite.max()) if finite.size else None,
        constant=constant,
    )
