"""TensorFlow Serving's configurations and base paths."""

from pathlib import Path

import pytest

from inference.registry.importers.source_model import SourceModel
from inference.registry.importers.tensorflow_serving import read_configs
from tests.inference.registry.importers.folders import write

CONFIG = """
model_config_list {
  config {
    name: 'fraud'
    base_path: '/models/fraud/'
    model_platform: 'tensorflow'
    model_version_policy { specific { versions: 42 versions: 43 } }
    version_labels { key: 'stable' value: 42 }
    version_labels { key: 'canary' value: 43 }
    version_labels { key: 'old' value: 7 }
    logging_config { sampling_config { sampling_rate: 0.1 } }
  }
  config { name: 'gone' base_path: 's3://bucket/gone' }
}
"""


def left(model: SourceModel) -> dict[str, str]:
    return {left.what: left.remedy for left in model.left}


class TestReadConfigs:
    def test_takes_names_versions_and_labels_along(self, tmp_path: Path) -> None:
        write(tmp_path / "models.config", CONFIG)
        for version in (41, 42, 43):
            write(tmp_path / f"fraud/{version}/model.onnx", b"onnx")

        fraud, gone = read_configs(tmp_path)

        assert [version.name for version in fraud.versions] == ["43", "42"]
        assert fraud.aliases == {"stable": "42", "canary": "43"}
        assert left(fraud).keys() == {"version 41", "label old", "logging_config"}
        assert "'s3://bucket/gone' is not within" in left(gone)["models.config"]

    def test_says_how_to_convert_a_saved_model(self, tmp_path: Path) -> None:
        write(tmp_path / "models.config", CONFIG)
        write(tmp_path / "models/fraud/42/saved_model.pb", b"")

        fraud, _ = read_configs(tmp_path)

        assert fraud.versions == ()
        assert "tf2onnx.convert --saved-model models/fraud/42" in left(fraud)["version 42, a SavedModel"]

    def test_finds_base_paths_without_a_configuration(self, tmp_path: Path) -> None:
        write(tmp_path / "fraud/1/saved_model.pb", b"")
        write(tmp_path / "fraud/2/saved_model.pb", b"")
        write(tmp_path / "fraud/2/model.onnx", b"onnx")

        (model,) = read_configs(tmp_path)

        assert (model.name, [version.name for version in model.versions]) == ("fraud", ["2"])
        assert "version 1, a SavedModel" in left(model)

    @pytest.mark.parametrize("base_path", ["../outside", "/etc", "", "a\\000b"])
    def test_never_leaves_the_folder(self, tmp_path: Path, base_path: str) -> None:
        write(tmp_path / "outside/1/model.onnx", b"onnx")
        write(
            tmp_path / "folder/models.config",
            f"model_config_list {{ config {{ name: 'x' base_path: '{base_path}' }} }}",
        )

        (model,) = read_configs(tmp_path / "folder")

        assert model.versions == ()
        assert "is not within" in left(model)["models.config"]

    def test_says_where_a_configuration_is_broken(self, tmp_path: Path) -> None:
        write(tmp_path / "models.config", "model_config_list { config { name: ")

        (model,) = read_configs(tmp_path)

        assert "not in protobuf's text format" in left(model)["models.config"]
