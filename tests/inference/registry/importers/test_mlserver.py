"""MLServer's settings."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from inference.registry.importers.mlserver import read_models
from inference.registry.importers.source_model import DeclaredTensor, SourceModel
from tests.inference.registry.importers.folders import write


def read_one(root: Path, settings: Any) -> SourceModel:
    text = settings if isinstance(settings, str) else json.dumps(settings)
    write(root / "fraud/model-settings.json", text)
    (model,) = read_models(root)
    return model


def left(model: SourceModel) -> dict[str, str]:
    return {left.what: left.remedy for left in model.left}


class TestReadModels:
    def test_takes_the_onnx_that_the_uri_names(self, tmp_path: Path) -> None:
        file = write(tmp_path / "fraud/artifacts/fraud.onnx", b"onnx")

        model = read_one(
            tmp_path,
            {
                "name": "fraud-eu",
                "implementation": "ours.OnnxModel",
                "max_batch_size": 32,
                "parallel_workers": 4,
                "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 3]}],
                "parameters": {"uri": "./artifacts/fraud.onnx", "version": "v3", "extra": {"threads": 2}},
            },
        )

        assert model.name == "fraud-eu"
        assert [(version.name, version.file) for version in model.versions] == [("v3", file)]
        assert model.inputs == (DeclaredTensor("X", "FP32", (-1, 3)),)
        assert [kept.split(":")[0] for kept in model.kept] == ["max_batch_size"]
        assert left(model).keys() == {"parallel_workers", "parameters.extra"}

    def test_takes_the_only_onnx_of_the_folder(self, tmp_path: Path) -> None:
        write(tmp_path / "fraud/model.onnx", b"onnx")

        model = read_one(tmp_path, {"implementation": "ours.OnnxModel"})

        assert (model.name, model.versions[0].name) == ("fraud", "1")

    def test_reads_the_model_that_mlflow_logged(self, tmp_path: Path) -> None:
        write(tmp_path / "fraud/logged/MLmodel", "flavors: {onnx: {data: model.onnx}}")
        write(tmp_path / "fraud/logged/model.onnx", b"onnx")

        model = read_one(
            tmp_path,
            {
                "name": "fraud",
                "implementation": "mlserver_mlflow.MLflowRuntime",
                "parameters": {"uri": "logged"},
            },
        )

        assert (model.name, [version.name for version in model.versions]) == ("fraud", ["1"])

    @pytest.mark.parametrize(
        ("implementation", "remedy"),
        [
            ("mlserver_sklearn.SKLearnModel", "driftline_client.push converts sklearn models"),
            ("mlserver_xgboost.XGBoostModel", "driftline_client.push converts xgboost models"),
            ("mlserver_huggingface.HuggingFaceRuntime", "export it as ONNX"),
        ],
    )
    def test_says_what_to_do_with_other_runtimes(
        self, tmp_path: Path, implementation: str, remedy: str
    ) -> None:
        write(tmp_path / "fraud/model.joblib", b"")

        model = read_one(
            tmp_path, {"implementation": implementation, "parameters": {"uri": "./model.joblib"}}
        )

        assert model.versions == ()
        assert remedy in left(model)[f"the model of {implementation}"]

    @pytest.mark.parametrize(
        ("settings", "reason"),
        [
            ("{", "not as expected"),
            ("[]", "not as expected"),
            ('{"name": 5}', r"\$\.name"),
            ('{"inputs": [{"shape": "x"}]}', r"\$\.inputs"),
            ("[" * 100_000, "not as expected"),
            ({"parameters": {"uri": "../../../outside.onnx"}}, "outside of the folder"),
            ({"parameters": {"uri": "/etc/hostname"}}, "outside of the folder"),
            ({"parameters": {"uri": "gone.onnx"}}, "not in the folder"),
            ({"parameters": {"uri": "a\0b"}}, "not in the folder"),
            ({"parameters": {"uri": "s3://bucket/model.onnx"}}, "download it"),
        ],
    )  # fmt: skip
    def test_says_what_is_wrong(self, tmp_path: Path, settings: Any, reason: str) -> None:
        write(tmp_path / "outside.onnx", b"onnx")

        model = read_one(tmp_path / "models/deeper", settings)

        assert model.versions == ()
        assert re.search(reason, left(model)["fraud/model-settings.json"])
