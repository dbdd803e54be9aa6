"""The child's work from bytes to findings, one stage after another."""

import os
from functools import partial

import msgspec

from inference.registry.intake import sandbox
from inference.registry.intake.graph import examine_graph, parse_model
from inference.registry.intake.limits import Order, ReferenceRows
from inference.registry.intake.report import Findings, ReferenceRun, SandboxFacts
from inference.registry.intake.runs.reference import run_on_reference
from inference.registry.intake.runs.rehearsal import rehearse
from inference.registry.intake.runs.session import (
    Session,
    describe_inputs,
    describe_outputs,
    open_session,
    plain_reason,
    raise_if_out_of_memory,
)
from inference.signatures import TensorSpec


def examine(content: bytes, order: Order, facts: SandboxFacts) -> Findings:
    """Parse, load and rehearse the model in `content`; raises `IntakeRefused`."""
    model = parse_model(content)
    graph = examine_graph(model, order.limits)
    session = open_session(content)
    inputs = describe_inputs(session, order.limits)
    outputs = describe_outputs(session, order.limits)
    sandbox.allow_cpu(order.limits.run_cpu_s)
    dry_runs, observed = rehearse(session, model.graph, inputs, len(order.features) or None)
    reference = _run_on_reference(session, inputs, order)
    return Findings(graph, inputs, outputs, dry_runs, observed, facts, reference)


def _run_on_reference(session: Session, inputs: list[TensorSpec], order: Order) -> ReferenceRun | None:
    if order.rows_handle is None:
        return None
    with os.fdopen(order.rows_handle, "rb") as file:
        rows = msgspec.msgpack.decode(file.read(), type=ReferenceRows)
    outputs = [argument.name for argument in session.get_outputs()]
    return run_on_reference(
        partial(session.run, None), _explain, inputs, outputs, order.features, order.missing, rows
    )


def _explain(failure: Exception) -> str:
    raise_if_out_of_memory(failure)
    return plain_reason(failure)
