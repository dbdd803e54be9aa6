"""Which graphs cost more when a request holds other values."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from inference.registry.intake.runs.value_costs import has_value_costs, may_have_value_costs
from tests.attacks import models
from tests.inference.onnx_models import constant_classifier, looping_model, summing_model, swelling_model


def graph(*nodes: NodeProto) -> onnx.GraphProto:
    """Build a graph over the input X with a constant `c`."""
    return helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("X", TensorProto.INT64, [None, 1])],
        [],
        [numpy_helper.from_array(np.array([1], np.int64), "c")],
    )


node = helper.make_node


class TestHasValueCosts:
    @pytest.mark.parametrize(
        "build",
        [models.boxes_model, models.sequence_model, models.range_model, models.strings_model, swelling_model],
    )
    def test_is_true_of_each_model_of_the_attacks(self, build: Callable[[], bytes]) -> None:
        assert has_value_costs(onnx.load_from_string(build()).graph)

    def test_is_true_of_a_loop(self) -> None:
        assert has_value_costs(onnx.load_from_string(looping_model(3)).graph)

    @pytest.mark.parametrize("model", [summing_model(3), constant_classifier(0.5, 3)])
    def test_is_false_of_a_plain_model(self, model: bytes) -> None:
        assert not has_value_costs(onnx.load_from_string(model).graph)

    def test_is_false_where_a_size_is_made_of_shapes_alone(self) -> None:
        assert not has_value_costs(graph(node("Shape", ["X"], ["s"]), node("Expand", ["c", "s"], ["Y"])))

    def test_is_true_where_a_size_is_made_of_values_by_a_detour(self) -> None:
        found = graph(
            node("Cast", ["X"], ["n"], to=TensorProto.INT64),
            node("Mul", ["n", "c"], ["size"]),
            node("ConstantOfShape", ["size"], ["Y"]),
        )

        assert has_value_costs(found)

    def test_is_true_where_a_size_is_the_shape_of_what_values_chose(self) -> None:
        found = graph(
            node("NonZero", ["X"], ["places"]),
            node("Shape", ["places"], ["s"]),
            node("Expand", ["c", "s"], ["Y"]),
        )

        assert has_value_costs(found)

    def test_is_true_where_a_branch_holds_the_node(self) -> None:
        branch = helper.make_graph([node("Expand", ["c", "X"], ["Z"])], "branch", [], [])
        other = helper.make_graph([node("Identity", ["c"], ["Z"])], "branch", [], [])

        assert has_value_costs(graph(node("If", ["c"], ["Y"], then_branch=branch, else_branch=other)))


class TestMayHaveValueCosts:
    def test_judges_by_the_operators_alone(self) -> None:
        assert may_have_value_costs(["Cast", "Expand"])
        assert not may_have_value_costs(["Cast", "TreeEnsembleClassifier"])
