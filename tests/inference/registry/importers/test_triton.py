"""Triton's repositories."""

from pathlib import Path

import pytest

from inference.registry.importers.source_model import DeclaredTensor, SourceModel
from inference.registry.importers.triton import read_repository
from tests.inference.registry.importers.folders import FRAUD_CONFIG, write


def read_one(root: Path, config: str, *versions: int) -> SourceModel:
    """Read a repository of one model, whose versions hold a file that is not opened yet."""
    write(root / "fraud/config.pbtxt", config)
    for version in versions or (1,):
        write(root / f"fraud/{version}/model.onnx", b"onnx")
    (model,) = read_repository(root)
    return model


def left(model: SourceModel) -> dict[str, str]:
    return {left.what: left.remedy for left in model.left}


class TestReadRepository:
    def test_reads_what_is_served_with_the_latest_version_first(self, tmp_path: Path) -> None:
        model = read_one(tmp_path, FRAUD_CONFIG, 1, 2, 10)

        assert model.name == "fraud"
        assert [version.name for version in model.versions] == ["10", "2"]
        assert model.versions[0].file == tmp_path / "fraud/10/model.onnx"
        assert "version 1" in left(model)

    def test_adds_the_rows_that_max_batch_size_leaves_out_of_the_dims(self, tmp_path: Path) -> None:
        batched = read_one(tmp_path / "batched", FRAUD_CONFIG)
        whole = read_one(tmp_path / "whole", 'input { name: "X" data_type: TYPE_STRING dims: [ -1, 3 ] }')

        assert batched.inputs == (DeclaredTensor("X", "FP32", (-1, 3)),)
        assert batched.outputs == (DeclaredTensor("sum", "FP32", (-1, 1)),)
        assert whole.inputs == (DeclaredTensor("X", "BYTES", (-1, 3)),)

    def test_tells_what_comes_along_and_what_does_not(self, tmp_path: Path) -> None:
        model = read_one(tmp_path, FRAUD_CONFIG + 'metric_tags { key: "a" value: "b" }')

        assert [kept.split(":")[0] for kept in model.kept] == [
            "max_batch_size",
            "dynamic_batching",
            "model_warmup",
        ]
        assert "DRIFTLINE_WEB_WORKERS" in left(model)["instance_group"]
        assert "dynamic_batching.max_queue_delay_microseconds" in left(model)
        assert left(model)["metric_tags"] == "there is nothing like it"

    @pytest.mark.parametrize(
        ("policy", "served"),
        [
            ("", ["3"]),
            ("version_policy { latest { } }", ["3"]),
            ("version_policy { all { } }", ["3", "2", "1"]),
            ("version_policy { specific { versions: [ 1, 2, 9 ] } }", ["2", "1"]),
        ],
    )  # fmt: skip
    def test_follows_the_version_policy(self, tmp_path: Path, policy: str, served: list[str]) -> None:
        model = read_one(tmp_path, f'platform: "onnxruntime_onnx" {policy}', 1, 2, 3)

        assert [version.name for version in model.versions] == served

    def test_passes_over_folders_that_triton_takes_for_no_version(self, tmp_path: Path) -> None:
        for name in ("0", "01", "1a", "²"):
            write(tmp_path / "fraud" / name / "model.onnx", b"onnx")

        model = read_one(tmp_path, "version_policy { all { } }", 1)

        assert [version.name for version in model.versions] == ["1"]

    def test_needs_no_configuration_for_onnx(self, tmp_path: Path) -> None:
        write(tmp_path / "sums/1/model.onnx", b"onnx")

        (model,) = read_repository(tmp_path)

        assert (model.name, [version.name for version in model.versions]) == ("sums", ["1"])

    def test_takes_the_classes_from_the_file_of_labels(self, tmp_path: Path) -> None:
        write(tmp_path / "fraud/labels.txt", "honest\nfraud\n\n")

        model = read_one(tmp_path, 'output { name: "p" label_filename: "labels.txt" }')

        assert model.metadata.classes == ["honest", "fraud"]

    @pytest.mark.parametrize(
        ("config", "provider"),
        [
            ("", "cpu"),
            ("instance_group { kind: KIND_GPU }", "cuda"),
            (
                "instance_group { kind: KIND_GPU } optimization { execution_accelerators { "
                'gpu_execution_accelerator { name: "tensorrt" } } }',
                "tensorrt",
            ),
            (
                'optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" } } }',
                "openvino",
            ),
        ],
    )
    def test_takes_the_execution_provider_along(self, tmp_path: Path, config: str, provider: str) -> None:
        assert read_one(tmp_path, config).metadata.execution_provider == provider

    @pytest.mark.parametrize(
        ("config", "what", "remedy"),
        [
            ('platform: "tensorflow_savedmodel"', "the tensorflow_savedmodel model", "tf2onnx"),
            ('platform: "pytorch_libtorch"', "the pytorch model", "torch.onnx.export"),
            ('backend: "python"', "the python model", "it is a program"),
            ("ensemble_scheduling { step { } }", "the ensemble model", "call its steps in turn"),
            (
                'default_model_filename: "model.plan" backend: "tensorrt"',
                "the tensorrt model",
                "the ONNX that it",
            ),
            ('backend: "vllm"', "the vllm model", "export the model as ONNX"),
        ],
    )
    def test_says_what_to_do_with_other_models(
        self, tmp_path: Path, config: str, what: str, remedy: str
    ) -> None:
        model = read_one(tmp_path, config)

        assert model.versions == ()
        assert remedy in left(model)[what]

    def test_reads_the_others_where_one_is_broken(self, tmp_path: Path) -> None:
        write(tmp_path / "broken/config.pbtxt", "name: ")
        write(tmp_path / "escaping/config.pbtxt", 'default_model_filename: "../../secret"')
        write(tmp_path / "large/config.pbtxt", "#" * (2 << 20))
        write(tmp_path / "binary/config.pbtxt", b"\xff\xfe")
        write(tmp_path / "fraud/config.pbtxt", FRAUD_CONFIG)
        write(tmp_path / "fraud/1/model.onnx", b"onnx")

        models = {model.name: model for model in read_repository(tmp_path)}

        assert models["fraud"].versions
        assert "1:7" in left(models["broken"])["broken/config.pbtxt"]
        assert "default_model_filename" in left(models["escaping"])["escaping/config.pbtxt"]
        assert "larger than" in left(models["large"])["large/config.pbtxt"]
        assert "not UTF-8" in left(models["binary"])["binary/config.pbtxt"]


class TestLinks:
    def test_are_followed_within_the_folder(self, tmp_path: Path) -> None:
        write(tmp_path / "store/abc.onnx", b"onnx")
        (tmp_path / "fraud/1").mkdir(parents=True)
        (tmp_path / "fraud/1/model.onnx").symlink_to("../../store/abc.onnx")

        (model,) = read_repository(tmp_path)

        assert model.versions[0].file == tmp_path / "store/abc.onnx"

    @pytest.mark.parametrize("target", ["/etc/hostname", "../../../outside.onnx", "model.onnx", "gone"])
    def test_that_leave_the_folder_are_refused(self, tmp_path: Path, target: str) -> None:
        write(tmp_path / "outside.onnx", b"onnx")
        folder = tmp_path / "models"
        write(folder / "fraud/config.pbtxt", "")
        (folder / "fraud/1").mkdir()
        (folder / "fraud/1/model.onnx").symlink_to(target)

        (model,) = read_repository(folder)

        assert model.versions == ()
        assert "folder" in left(model)["fraud/config.pbtxt"]

    def test_of_a_configuration_that_leave_the_folder_are_refused(self, tmp_path: Path) -> None:
        write(tmp_path / "outside", 'name: "stolen"')
        (tmp_path / "models/fraud").mkdir(parents=True)
        (tmp_path / "models/fraud/config.pbtxt").symlink_to(tmp_path / "outside")

        (model,) = read_repository(tmp_path / "models")

        assert (model.name, model.versions) == ("fraud", ())

    def test_a_folder_in_place_of_a_file_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path / "fraud/config.pbtxt", "")
        (tmp_path / "fraud/1/model.onnx").mkdir(parents=True)

        (model,) = read_repository(tmp_path)

        assert "is no file" in left(model)["fraud/config.pbtxt"]
