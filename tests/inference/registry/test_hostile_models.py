"""Files that must never be served, each with the answer of the bad-input catalogue."""

import io
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.helper import make_node, make_tensor, make_tensor_sequence_value_info, make_tensor_value_info

from inference.registry.intake import IntakeLimits, IntakeRefused
from tests.inference.registry.onnx_files import (
    X,
    Y,
    endless_folding,
    endless_loop,
    inspect,
    memory_bomb,
    model,
    nested_subgraphs,
    refusal,
    summing_model,
    tensor,
)

pytestmark = pytest.mark.slow


def _zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return buffer.getvalue()


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"an": "object"}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


class TestOtherFormats:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            pytest.param(b"", "empty", id="empty"),
            pytest.param(random.Random(7).randbytes(5000), "not an ONNX model", id="random"),
            pytest.param(summing_model()[:-10], "cut short", id="truncated"),
            pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(50), "PNG", id="png"),
            pytest.param(_zip("a.txt"), "zip", id="zip"),
            pytest.param(b"\n<!doctype html><html></html>", "HTML", id="html"),
            pytest.param(b'{"model": 1}', "JSON", id="json"),
            pytest.param(b"\x08\x08", "no graph", id="protobuf without graph"),
        ],
    )
    def test_what_is_no_model_is_not_onnx(self, tmp_path: Path, content: bytes, words: str) -> None:
        refused = refusal(tmp_path, content)

        assert (refused.code, refused.status) == ("not_onnx", 422)
        assert words in refused.detail

    @pytest.mark.parametrize(
        "content",
        [
            *(
                pytest.param(pickle.dumps({"a": [1]}, protocol=protocol), id=f"pickle {protocol}")
                for protocol in range(6)
            ),
            pytest.param(_zip("archive/data.pkl", "archive/version"), id="pt"),
            pytest.param(_zip("metadata.json", "config.json", "model.weights.h5"), id="keras"),
            pytest.param(_npy(), id="npy with objects"),
            pytest.param(b"\x89HDF\r\n\x1a\n" + bytes(50), id="hdf5"),
            pytest.param(b"\x78\x9c" + bytes(50), id="joblib with zlib"),
            pytest.param(b"\x1f\x8b\x08" + bytes(50), id="gzip"),
            pytest.param(b"\x40\x00\x00\x00\x00\x00\x00\x00" + b'{"a":{}}', id="safetensors"),
            pytest.param(b"\x18\x00\x00\x00ORTM" + bytes(50), id="ort"),
        ],
    )
    def test_another_model_format_is_refused_unopened(self, tmp_path: Path, content: bytes) -> None:
        refused = refusal(tmp_path, content)

        assert (refused.code, refused.status) == ("format_refused", 415)
        assert "Convert the model to ONNX" in refused.detail

    def test_a_file_over_the_cap_is_too_large(self, tmp_path: Path) -> None:
        with pytest.raises(IntakeRefused) as caught:
            inspect(tmp_path, bytes(1001), limits=IntakeLimits(file_bytes=1000))

        assert (caught.value.code, caught.value.status) == ("artifact_too_large", 413)


class TestExternalData:
    @pytest.mark.parametrize("location", ["canary", "../canary", "/etc/hostname"])
    def test_is_refused_wherever_it_points(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
    ) -> None:
        (tmp_path / "canary").write_bytes(np.float32([41.5, 42.5]).tobytes())
        monkeypatch.chdir(tmp_path)
        weights = _external_tensor(location)

        refused = refusal(
            tmp_path, model([make_node("Add", ["x", "w"], ["y"])], constants=[weights]).SerializeToString()
        )

        assert (refused.code, refused.status) == ("external_data", 422)
        assert "one file" in refused.detail

    def test_is_found_in_a_node_that_lies_about_its_attribute(self, tmp_path: Path) -> None:
        node = make_node("Constant", [], ["w"], value=_external_tensor("canary"))
        node.attribute[0].type = onnx.AttributeProto.INT

        refused = refusal(tmp_path, model([node, make_node("Add", ["x", "w"], ["y"])]).SerializeToString())

        assert refused.code == "external_data"

    def test_is_found_in_a_subgraph(self, tmp_path: Path) -> None:
        branch = onnx.helper.make_graph(
            [make_node("Identity", ["w"], ["o"])], "b", [], [Y], [_external_tensor("canary")]
        )
        node = make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)

        refused = refusal(tmp_path, model([node]).SerializeToString())

        assert refused.code == "external_data"


def _external_tensor(location: str) -> TensorProto:
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    return weights


class TestResources:
    def test_a_tiny_file_that_asks_for_256_gib_is_refused(self, tmp_path: Path) -> None:
        bomb = memory_bomb()

        refused = refusal(tmp_path, bomb)

        assert len(bomb) < 100
        assert (refused.code, refused.status) == ("resource_limit", 422)

    def test_a_tiny_file_that_never_ends_is_refused(self, tmp_path: Path) -> None:
        loop = endless_loop()

        refused = refusal(tmp_path, loop)

        assert len(loop) < 250
        assert (refused.code, refused.status) == ("resource_limit", 422)

    def test_the_wall_deadline_ends_what_cpu_time_does_not(self, tmp_path: Path) -> None:
        with pytest.raises(IntakeRefused) as caught:
            inspect(tmp_path, endless_loop(), limits=IntakeLimits(run_cpu_s=15, wall_s=0.8))

        assert caught.value.code == "resource_limit"

    @pytest.mark.parametrize(
        ("node", "constants"),
        [
            pytest.param(
                make_node("Expand", ["x", "s"], ["y"]),
                [make_tensor("s", TensorProto.INT64, [3], [1 << 20, 1 << 16, 1])],
                id="Expand",
            ),
            pytest.param(
                make_node("Tile", ["x", "s"], ["y"]),
                [make_tensor("s", TensorProto.INT64, [2], [1 << 20, 1 << 16])],
                id="Tile",
            ),
            pytest.param(
                make_node("Pad", ["x", "s"], ["y"]),
                [make_tensor("s", TensorProto.INT64, [4], [0, 0, 1 << 20, 1 << 16])],
                id="Pad",
            ),
        ],
    )
    def test_an_operator_that_blows_up_its_input_is_refused(
        self, tmp_path: Path, node: onnx.NodeProto, constants: list[TensorProto]
    ) -> None:
        refused = refusal(tmp_path, model([node], constants=constants).SerializeToString())

        assert refused.code == "resource_limit"

    def test_too_many_nodes_are_refused(self, tmp_path: Path) -> None:
        node = make_node("Identity", ["x"], ["y"])
        crowd = model([node])
        crowd.graph.node.extend([node] * 100_000)

        refused = refusal(tmp_path, crowd.SerializeToString())

        assert (refused.code, refused.status) == ("graph_too_large", 422)
        assert "100,000 nodes" in refused.detail

    def test_too_many_stored_tensors_are_refused(self, tmp_path: Path) -> None:
        crowd = model([make_node("Identity", ["x"], ["y"])])
        crowd.graph.initializer.extend([make_tensor("t", TensorProto.FLOAT, [1], [0.0])] * 100_001)

        refused = refusal(tmp_path, crowd.SerializeToString())

        assert (refused.code, refused.status) == ("graph_too_large", 422)
        assert "100,000 tensors" in refused.detail

    def test_a_tiny_file_whose_constants_take_for_ever_to_fold_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(IntakeRefused) as caught:
            inspect(tmp_path, endless_folding(), limits=IntakeLimits(load_cpu_s=2))

        assert (caught.value.code, caught.value.status) == ("resource_limit", 422)

    def test_an_outer_product_of_an_input_with_itself_is_refused(self, tmp_path: Path) -> None:
        node = make_node("Einsum", ["x"] * 4, ["y"], equation="ab,cd,ef,gh->abcdefgh")

        refused = refusal(tmp_path, model([node], [tensor("x", [None, 400])]).SerializeToString())

        assert refused.code == "resource_limit"

    @pytest.mark.parametrize("depth", [20, 10_000])
    def test_subgraphs_too_deep_are_refused(self, tmp_path: Path, depth: int) -> None:
        refused = refusal(tmp_path, nested_subgraphs(depth))

        assert (refused.code, refused.status) == ("graph_too_large", 422)
        assert "subgraphs" in refused.detail


class TestContents:
    def test_operators_outside_the_standard_are_named(self, tmp_path: Path) -> None:
        custom = model([make_node("Foo", ["x"], ["y"], domain="my.own")], domains=["my.own"])

        refused = refusal(tmp_path, custom.SerializeToString())

        assert (refused.code, refused.status) == ("unsupported_op", 422)
        assert "my.own.Foo" in refused.detail

    def test_vendor_operators_are_refused(self, tmp_path: Path) -> None:
        special = model([make_node("Gelu", ["x"], ["y"], domain="com.microsoft")], domains=["com.microsoft"])

        assert refusal(tmp_path, special.SerializeToString()).code == "unsupported_op"

    def test_training_operators_are_refused(self, tmp_path: Path) -> None:
        domain = "ai.onnx.preview.training"
        training = model([make_node("Adam", ["x"], ["y"], domain=domain)], domains=[domain])

        assert refusal(tmp_path, training.SerializeToString()).code == "unsupported_opset"

    def test_functions_of_the_models_own_are_refused(self, tmp_path: Path) -> None:
        wrapped = model([make_node("Identity", ["x"], ["y"])])
        wrapped.functions.add(name="f", domain="my.own")

        refused = refusal(tmp_path, wrapped.SerializeToString())

        assert refused.code == "unsupported_op"
        assert "inline" in refused.detail

    def test_an_unknown_standard_operator_is_refused(self, tmp_path: Path) -> None:
        refused = refusal(tmp_path, model([make_node("Frobnicate", ["x"], ["y"])]).SerializeToString())

        assert refused.code == "unsupported_op"
        assert "ai.onnx.Frobnicate" in refused.detail

    def test_training_steps_are_refused(self, tmp_path: Path) -> None:
        trained = model([make_node("Identity", ["x"], ["y"])])
        trained.training_info.add()

        assert refusal(tmp_path, trained.SerializeToString()).code == "unsupported_opset"

    def test_a_tensor_whose_bytes_do_not_fill_its_shape_is_refused(self, tmp_path: Path) -> None:
        short = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 40], raw_data=bytes(8))

        refused = refusal(
            tmp_path, model([make_node("Add", ["x", "w"], ["y"])], constants=[short]).SerializeToString()
        )

        assert (refused.code, refused.status) == ("invalid_tensor", 422)
        assert "'w'" in refused.detail

    def test_a_tensor_with_too_few_values_is_refused(self, tmp_path: Path) -> None:
        short = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], float_data=[1.0])

        refused = refusal(
            tmp_path, model([make_node("Add", ["x", "w"], ["y"])], constants=[short]).SerializeToString()
        )

        assert refused.code == "invalid_tensor"

    def test_an_operator_set_newer_than_the_runtime_is_refused_with_the_newest_it_reads(
        self, tmp_path: Path
    ) -> None:
        future = model([make_node("Identity", ["x"], ["y"])], opset=99)

        refused = refusal(tmp_path, future.SerializeToString())

        assert (refused.code, refused.status) == ("unsupported_opset", 422)
        assert "opset 99" in refused.detail
        assert "opset 7 to " in refused.detail

    def test_an_ir_version_newer_than_the_runtime_is_refused(self, tmp_path: Path) -> None:
        future = model([make_node("Identity", ["x"], ["y"])])
        future.ir_version = 99

        refused = refusal(tmp_path, future.SerializeToString())

        assert refused.code == "unsupported_opset"
        assert "IR version 99" in refused.detail
        assert "IR version 3 to " in refused.detail

    @pytest.mark.parametrize(
        ("opset", "ir_version", "words"), [(6, 8, "opset 7 or"), (15, 2, "version 3 or")]
    )
    def test_a_model_older_than_the_runtime_promises_to_read_is_refused(
        self, tmp_path: Path, opset: int, ir_version: int, words: str
    ) -> None:
        old = model([make_node("Identity", ["x"], ["y"])], opset=opset)
        old.ir_version = ir_version

        refused = refusal(tmp_path, old.SerializeToString())

        assert refused.code == "unsupported_opset"
        assert words in refused.detail

    def test_a_model_without_outputs_is_refused(self, tmp_path: Path) -> None:
        silent = model([make_node("Identity", ["x"], ["y"])], outputs=[])

        refused = refusal(tmp_path, silent.SerializeToString())

        assert (refused.code, refused.status) == ("unsupported_output", 422)

    def test_a_sequence_output_is_refused_with_the_fix(self, tmp_path: Path) -> None:
        sequence = make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
        listed = model([make_node("SequenceConstruct", ["x"], ["y"])], outputs=[sequence])

        refused = refusal(tmp_path, listed.SerializeToString())

        assert (refused.code, refused.status) == ("unsupported_output", 422)
        assert "zipmap=False" in refused.detail

    def test_a_fixed_number_of_rows_is_refused_with_the_fix(self, tmp_path: Path) -> None:
        fixed = model([make_node("Identity", ["x"], ["y"])], [tensor("x", [1, 2])])

        refused = refusal(tmp_path, fixed.SerializeToString())

        assert refused.code == "unsupported_input"
        assert "variable first dimension" in refused.detail

    def test_a_model_that_answers_one_value_for_all_rows_is_refused(self, tmp_path: Path) -> None:
        mixed = model([make_node("ReduceSum", ["x"], ["y"], keepdims=0)])

        refused = refusal(tmp_path, mixed.SerializeToString())

        assert refused.code == "incompatible_signature"
        assert "3 rows" in refused.detail

    def test_a_model_that_fails_on_every_row_is_refused_with_the_reason(self, tmp_path: Path) -> None:
        indices = make_tensor("i", TensorProto.INT64, [1], [7])
        broken = model(
            [make_node("Gather", ["x", "i"], ["y"], axis=1)], [tensor("x", [None, None])], constants=[indices]
        )

        refused = refusal(tmp_path, broken.SerializeToString())

        assert refused.code in ("dry_run_failed", "invalid_metadata")

    @pytest.mark.parametrize("name", ["a\x00b", "a\nb", "x" * 201])
    def test_a_tensor_name_that_cannot_be_shown_is_refused(self, tmp_path: Path, name: str) -> None:
        odd = model([make_node("Identity", [name], ["y"])], [make_tensor_value_info(name, 1, [None, 2])])

        assert refusal(tmp_path, odd.SerializeToString()).code == "invalid_text"

    def test_a_name_that_is_not_utf8_is_refused(self, tmp_path: Path) -> None:
        refused = refusal(tmp_path, summing_model().replace(b"ReduceSum", b"Reduce\xffum"))

        assert refused.code == "invalid_text"

    def test_markup_in_a_name_and_in_the_documentation_is_kept_as_text(self, tmp_path: Path) -> None:
        marked = model([make_node("ReduceSum", ["<b>", "a"], ["y"])], [tensor("<b>", [None, 2])])
        marked.graph.initializer.append(make_tensor("a", TensorProto.INT64, [1], [1]))
        marked.doc_string = "<script>alert(1)</script>" * 1000

        report = inspect(tmp_path, marked.SerializeToString())

        assert report.inputs[0].name == "<b>"
        assert len(report.description) == 2000

    def test_too_much_documentation_is_refused(self, tmp_path: Path) -> None:
        wordy = model([make_node("Identity", ["x"], ["y"])])
        wordy.metadata_props.add(key="script", value="x" * (1 << 20 | 1))

        assert refusal(tmp_path, wordy.SerializeToString()).code == "text_too_long"


class TestDamage:
    @pytest.mark.parametrize("seed", range(12))
    def test_a_damaged_model_is_refused_or_understood_and_nothing_else(
        self, tmp_path: Path, seed: int
    ) -> None:
        chance = random.Random(seed)
        content = bytearray(
            model([make_node("Relu", ["x"], ["y"])], [X], [tensor("y", [None, 2])]).SerializeToString()
        )
        for _ in range(3):
            content[chance.randrange(len(content))] = chance.randrange(256)

        refused = refusal(tmp_path, bytes(content))  # whole, it would be refused for its two output columns

        assert refused.status in (415, 422)
