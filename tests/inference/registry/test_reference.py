"""A run on rows of the reference: how many rows it takes, and what it says of the answers."""

from collections.abc import Sequence
from functools import partial

import pytest
from onnx import NodeProto, TensorProto, ValueInfoProto
from onnx.helper import make_node, make_tensor

from inference.registry.intake.limits import IntakeLimits, ReferenceRows
from inference.registry.intake.report import OutputOnReference, ReferenceRun
from inference.registry.intake.runs import reference
from inference.registry.intake.runs.reference import run_on_reference
from inference.registry.intake.runs.session import describe_inputs, open_session
from tests.inference.registry.onnx_files import graph, model, summing_model, tensor

ROWS: ReferenceRows = {"a": [float(row - 30) for row in range(120)], "b": [float(row) for row in range(120)]}


def run(content: bytes) -> ReferenceRun:
    session = open_session(content)
    inputs = describe_inputs(session, IntakeLimits())
    outputs = [argument.name for argument in session.get_outputs()]
    found = run_on_reference(partial(session.run, None), str, inputs, outputs, ["a", "b"], {}, ROWS)
    assert found is not None
    return found


def slow_model() -> bytes:
    """A model that takes some milliseconds of work for each row."""
    body = graph(
        [
            make_node("Identity", ["more"], ["more_"]),
            make_node("Sin", ["value"], ["sine"]),
            make_node("Cos", ["sine"], ["value_"]),
        ],
        [tensor("turn", [], TensorProto.INT64), tensor("more", [], TensorProto.BOOL), tensor("value", None)],
        [tensor("more_", [], TensorProto.BOOL), tensor("value_", None)],
    )
    return model(
        [
            make_node("Tile", ["x", "copies"], ["wide"]),
            make_node("Loop", ["turns", "", "wide"], ["waves"], body=body),
            make_node("ReduceSum", ["waves", "columns"], ["y"]),
        ],
        outputs=[tensor("y", [None, 1])],
        constants=[
            make_tensor("copies", TensorProto.INT64, [2], [1, 10_000]),
            make_tensor("turns", TensorProto.INT64, [], [40]),
            make_tensor("columns", TensorProto.INT64, [1], [1]),
        ],
    ).SerializeToString()


class TestRunOnReference:
    def test_asks_a_quick_model_all_rows(self) -> None:
        assert run(summing_model()).rows == 120

    def test_asks_a_slow_model_no_more_rows_than_there_is_time_for(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reference, "RUN_SECONDS", 0.03)

        found = run(slow_model())

        assert found.error is None
        assert 1 <= found.rows < 50

    @pytest.mark.parametrize(
        ("nodes", "output", "seen"),
        [
            (
                [make_node("Cast", ["x"], ["y"], to=TensorProto.INT64)],
                tensor("y", [None, 2], TensorProto.INT64),
                OutputOnReference(1.0, -30.0, 119.0, False),
            ),
            (
                [
                    make_node("Mul", ["x", "nothing"], ["zeros"]),
                    make_node("Cast", ["zeros"], ["y"], to=TensorProto.UINT8),
                ],
                tensor("y", [None, 2], TensorProto.UINT8),
                OutputOnReference(1.0, 0.0, 0.0, True),
            ),
            (
                [make_node("IsNaN", ["x"], ["y"])],
                tensor("y", [None, 2], TensorProto.BOOL),
                OutputOnReference(1.0, None, None, True),
            ),
        ],
    )
    def test_tells_the_least_and_the_greatest_of_whole_numbers_and_none_of_what_is_no_number(
        self, nodes: Sequence[NodeProto], output: ValueInfoProto, seen: OutputOnReference
    ) -> None:
        nothing = make_tensor("nothing", TensorProto.FLOAT, [], [0.0])

        found = run(model(nodes, outputs=[output], constants=[nothing]).SerializeToString())

        assert found.outputs == {"y": seen}
