"""MLflow's model folders."""

from pathlib import Path

import pytest

from inference.registry.importers.mlflow import read_models
from inference.registry.importers.source_model import DeclaredTensor, SourceModel
from tests.inference.registry.importers.folders import write

COLUMNS = """
artifact_path: model
flavors:
  onnx:
    data: model.onnx
    onnx_version: 1.17.0
    providers:
    - CUDAExecutionProvider
    - CPUExecutionProvider
  python_function: {loader_module: mlflow.onnx, data: model.onnx}
model_uuid: 6f1c
run_id: 9a2b
signature:
  inputs: '[{"type": "double", "name": "income", "required": true}, {"type": "long", "name": "age"}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 1]}}]'
"""


def read_one(root: Path, document: str | bytes) -> SourceModel:
    write(root / "fraud/MLmodel", document)
    write(root / "fraud/model.onnx", b"onnx")
    (model,) = read_models(root)
    return model


def left(model: SourceModel) -> dict[str, str]:
    return {left.what: left.remedy for left in model.left}


class TestReadModels:
    def test_names_the_features_by_the_signature(self, tmp_path: Path) -> None:
        model = read_one(tmp_path, COLUMNS)

        assert model.name == "fraud"
        assert [feature.name for feature in model.metadata.features] == ["income", "age"]
        assert [version.file for version in model.versions] == [tmp_path / "fraud/model.onnx"]
        assert model.origin == {"server": "mlflow", "run_id": "9a2b", "model_uuid": "6f1c"}
        assert left(model).keys() == {"providers"}

    def test_reads_the_tensors_of_a_signature(self, tmp_path: Path) -> None:
        schema = '[{"type": "tensor", "name": "X", "tensor-spec": {"dtype": "float64", "shape": [-1, 3]}}]'
        model = read_one(tmp_path, f"flavors: {{onnx: {{}}}}\nsignature:\n  inputs: '{schema}'")

        assert model.inputs == (DeclaredTensor("X", "FP64", (-1, 3)),)
        assert model.metadata.features == []

    def test_knows_a_registered_model_by_its_name_and_version(self, tmp_path: Path) -> None:
        for version in (9, 10):
            write(tmp_path / f"download-{version}/MLmodel", COLUMNS)
            write(tmp_path / f"download-{version}/model.onnx", b"onnx")
            write(
                tmp_path / f"download-{version}/registered_model_meta",
                f"model_name: fraud\nmodel_version: '{version}'",
            )

        models = read_models(tmp_path)

        assert [(model.name, model.versions[0].name) for model in models] == [("fraud", "10"), ("fraud", "9")]

    def test_takes_a_numbered_folder_for_a_version(self, tmp_path: Path) -> None:
        write(tmp_path / "fraud/7/MLmodel", COLUMNS)
        write(tmp_path / "fraud/7/model.onnx", b"onnx")

        (model,) = read_models(tmp_path)

        assert (model.name, model.versions[0].name) == ("fraud", "7")

    def test_says_what_to_do_without_onnx(self, tmp_path: Path) -> None:
        model = read_one(tmp_path, "flavors: {sklearn: {}, python_function: {}}")

        assert model.versions == ()
        assert "driftline_client.push" in left(model)["the flavor sklearn"]

    @pytest.mark.parametrize(
        ("document", "reason"),
        [
            ("{", "is not YAML"),
            ("- a", "no YAML mapping"),
            ("flavors: [onnx]", "'flavors' is no mapping"),
            ("!!python/object/apply:os.system ['true']", "is not YAML"),
            ("a: &a [x]\nb: [*a, *a]", "YAML aliases"),
            ("[" * 500_000, "within each other"),
            ("flavors: {onnx: {data: ../../outside.onnx}}", "outside of the folder"),
            ("flavors: {onnx: {data: gone.onnx}}", "not in the folder"),
            ("flavors: {onnx: {data: .}}", "is no file"),
            ("flavors: {onnx: {}}\nsignature: {inputs: '{'}", "inputs are not JSON"),
            ("flavors: {onnx: {}}\nsignature: {inputs: 5}", "inputs are not JSON"),
            ("flavors: {onnx: {}}\nsignature: {inputs: '[1]'}", "no list of columns"),
            ("date: 2026-99-99", "is not YAML"),
            (b"\xff", "not UTF-8"),
        ],
    )
    def test_says_what_is_wrong(self, tmp_path: Path, document: str | bytes, reason: str) -> None:
        write(tmp_path / "outside.onnx", b"onnx")

        model = read_one(tmp_path / "models", document)

        assert model.versions == ()
        assert reason in left(model)["fraud/MLmodel"]
