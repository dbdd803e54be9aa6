"""Each kind of variant on the graphs that it is for, and its reason on those that it is not for."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from inference.runtime.session import OnnxSession
from inference.runtime.variants.base import DoesNotApply, Sample
from inference.runtime.variants.building import BUILDERS, build_variant
from inference.runtime.variants.graph import STANDARD_DOMAINS
from inference.runtime.variants.kinds import KINDS
from tests.inference.onnx_models import echoing_model, summing_model
from tests.inference.runtime.variants.small_models import (
    Floats,
    boosted,
    convolutions,
    forest,
    network,
    pictures,
    real,
    stumps,
    table,
    trees_of,
    wide_layer,
)

MODELS = {
    "network": (network, lambda: table()[0]),
    "convolutions": (convolutions, pictures),
    "forest": (forest, lambda: table()[0]),
    "boosted": (boosted, lambda: table()[0]),
}
NEAR = {
    **{
        (model, kind): 0.97
        for model in ("network", "convolutions")
        for kind in ("int8_dynamic", "int8_static")
    },
    **{(model, "fp16"): 0.99 for model in ("network", "convolutions")},
    **{(model, "optimised"): 1.0 for model in MODELS},
    **{(model, "trees_75"): 0.8 for model in ("forest", "boosted")},
}
"""The least share of rows that a variant has to give its original's class."""


def answered(content: bytes, rows: Floats) -> tuple[np.ndarray, np.ndarray]:
    label, probabilities = OnnxSession(content).run({"X": rows}, ["label", "probabilities"])
    return label, probabilities


def contract(content: bytes) -> list[tuple[str, str, list[object]]]:
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    return [
        (one.name, one.type, [size if isinstance(size, int) else "any" for size in one.shape])
        for one in (*session.get_inputs(), *session.get_outputs())
    ]


def test_every_kind_that_people_read_of_has_its_builder() -> None:
    assert list(KINDS) == list(BUILDERS)


class TestVariants:
    @pytest.mark.parametrize(("model", "kind"), NEAR)
    def test_answer_as_the_original_does_by_the_same_contract(self, model: str, kind: str) -> None:
        make, rows = MODELS[model]
        original = make()

        variant = build_variant(kind, original, real(rows()))

        same = answered(variant, rows())[0] == answered(original, rows())[0]
        assert same.mean() >= NEAR[model, kind]
        assert contract(variant) == contract(original)

    @pytest.mark.parametrize(("model", "kind"), NEAR)
    def test_use_the_operators_that_the_intake_takes(self, model: str, kind: str) -> None:
        make, rows = MODELS[model]

        made = onnx.load_from_string(build_variant(kind, make(), real(rows())))

        assert {node.domain for node in made.graph.node} <= set(STANDARD_DOMAINS)
        assert {entry.domain for entry in made.opset_import} <= set(STANDARD_DOMAINS)

    @pytest.mark.parametrize("kind", ["int8_dynamic", "int8_static", "fp16"])
    def test_of_fewer_bits_take_fewer_bytes_where_weights_are_most_of_a_file(self, kind: str) -> None:
        original = wide_layer(200)

        variant = build_variant(kind, original, real(np.ones((3, 200), np.float32)))

        assert len(variant) < 0.6 * len(original)

    def test_optimised_have_fewer_nodes(self) -> None:
        original, optimised = (
            len(onnx.load_from_string(content).graph.node)
            for content in (network(), build_variant("optimised", network(), real(table()[0])))
        )

        assert optimised < original

    @pytest.mark.parametrize(("kind", "share"), [("pruned_50", 0.5), ("pruned_80", 0.8)])
    def test_pruned_have_that_share_of_each_layers_weights_at_zero(self, kind: str, share: float) -> None:
        made = onnx.load_from_string(build_variant(kind, convolutions(), real(pictures())))

        weights = {one.name: numpy_helper.to_array(one) for one in made.graph.initializer}
        zeros = {name: float((weights[name] == 0).mean()) for name in ("w1", "w2", "w3")}
        assert zeros == pytest.approx(dict.fromkeys(zeros, share), abs=0.01)
        assert not (weights["b1"] == 0).any()


class TestFewerTrees:
    def test_of_a_forest_still_give_probabilities(self) -> None:
        variant = build_variant("trees_25", forest(), real(table()[0]))

        assert trees_of(variant) == 3
        assert answered(variant, table()[0])[1].sum(axis=1) == pytest.approx(1, abs=1e-5)

    def test_of_boosted_classes_are_whole_rounds(self) -> None:
        assert (trees_of(boosted()), trees_of(build_variant("trees_50", boosted(), real(table()[0])))) == (
            36,
            18,
        )

    def test_that_are_added_up_keep_the_first_and_largest(self) -> None:
        variant = OnnxSession(
            build_variant("trees_50", stumps([8, 4, 2, 1]), real(np.ones((1, 1), np.float32)))
        )

        [sums] = variant.run({"X": np.array([[1], [-1]], np.float32)}, ["sum"])
        assert sums.tolist() == [[12], [-12]]

    @given(st.integers(2, 9), st.sampled_from([("trees_75", 0.75), ("trees_50", 0.5), ("trees_25", 0.25)]))
    @settings(max_examples=15)
    def test_that_are_averaged_answer_as_all_do_where_all_are_equal(
        self, trees: int, kind: tuple[str, float]
    ) -> None:
        name, share = kind

        content = build_variant(name, stumps([6 / trees] * trees), real(np.ones((1, 1), np.float32)))

        [sums] = OnnxSession(content).run({"X": np.ones((1, 1), np.float32)}, ["sum"])
        assert trees_of(content) == max(1, round(trees * share))
        assert sums[0, 0] == pytest.approx(6)


class TestReasons:
    @pytest.mark.parametrize("kind", ["int8_dynamic", "int8_static", "fp16", "pruned_50"])
    def test_name_the_operators_of_a_graph_without_weights(self, kind: str) -> None:
        with pytest.raises(DoesNotApply, match="its work is TreeEnsembleClassifier"):
            build_variant(kind, forest(), real(table()[0]))

    def test_say_that_there_are_no_trees(self) -> None:
        with pytest.raises(DoesNotApply, match="no tree ensemble; its work is"):
            build_variant("trees_50", network(), real(table()[0]))

    def test_say_that_one_tree_cannot_be_fewer(self) -> None:
        with pytest.raises(DoesNotApply, match="nothing to cut"):
            build_variant("trees_50", stumps([1.0]), real(np.ones((1, 1), np.float32)))

    def test_ask_for_rows_where_ranges_would_be_made_up(self) -> None:
        with pytest.raises(DoesNotApply, match="upload a reference"):
            build_variant("int8_static", network(), Sample({"X": table()[0]}, is_made_up=True))

    def test_ask_for_a_newer_opset(self) -> None:
        with pytest.raises(DoesNotApply, match="opset 12; export it with opset 13 or newer"):
            build_variant("int8_static", convolutions(opset=12), real(pictures()))

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("content", [summing_model(2), echoing_model()], ids=["sums", "texts"])
    def test_or_a_model_that_runs_are_all_that_a_graph_of_any_kind_gives(
        self, kind: str, content: bytes
    ) -> None:
        sample = Sample({"X": np.ones((3, 2), np.float32)}, is_made_up=True)

        try:
            made = build_variant(kind, content, sample)
        except DoesNotApply as reason:
            made, said = content, str(reason)
        else:
            said = "It was built."

        assert contract(made) == contract(content)
        assert said.endswith(".")
