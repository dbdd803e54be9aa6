"""TensorFlow Serving: a `model_config_list`, and `<base_path>/<version>/`, which may hold ONNX beside a SavedModel.

https://github.com/tensorflow/serving/blob/master/tensorflow_serving/g3doc/serving_config.md
"""

import os
from pathlib import Path

from inference.registry.importers.folder import find_files, numbered_versions, read_text, shown, subfolders
from inference.registry.importers.protobuf_text import ProtobufMessage, read_message
from inference.registry.importers.source_model import MigrationRefused, NotImported, SourceModel, unreadable
from inference.registry.importers.version_policy import not_served, served_by

ONNX_FILE = "model.onnx"
SAVED_MODEL = "saved_model.pb"
_LIST = "model_config_list"
_CONVERT = "python -m tf2onnx.convert --saved-model {folder} --output {folder}/model.onnx, then import again"
_REMEDIES = {
    "logging_config": "every prediction is logged; sampling has no counterpart",
    "model_type": "model_platform took its place",
    "custom_model_config": "there is nothing like it",
}
_READ = {"name", "base_path", "model_platform", "model_version_policy", "version_labels"}


def config_files(root: Path) -> list[Path]:
    """Find the files directly in the folder that hold a `model_config_list`."""
    texts = [path for path in sorted(root.iterdir()) if path.suffix in (".config", ".conf", ".pbtxt", ".txt")]
    return [path for path in texts if path.is_file() and _LIST in _beginning(path)]


def read_configs(root: Path) -> list[SourceModel]:
    """Read each model of the configuration; without one, each folder that has the layout of a base path."""
    configs = config_files(root)
    if not configs:
        bases = sorted({path.parent.parent for path in find_files(root, SAVED_MODEL)})
        return [_describe(root, base, ProtobufMessage({"name": [base.name]})) for base in bases]
    return [model for path in configs for model in _read_config(root, path)]


def _beginning(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(1 << 16).decode("utf-8", "replace")


def _read_config(root: Path, path: Path) -> list[SourceModel]:
    place = shown(root, path)
    try:
        configs = read_message(read_text(root, path), place).message(_LIST).messages("config")
        return [_read_model(root, place, config) for config in configs]
    except MigrationRefused as refusal:
        return [unreadable(path.name, place, refusal)]


def _read_model(root: Path, place: str, config: ProtobufMessage) -> SourceModel:
    try:
        return _describe(root, _base_path(root, config), config)
    except MigrationRefused as refusal:
        return unreadable(config.text("name")[:100] or place, place, refusal)


def _base_path(root: Path, config: ProtobufMessage) -> Path:
    """Find the model's folder: as the configuration has it, else by its last name within the folder.

    The path is that of the machine or container which served it, such as /models/fraud.
    """
    base_path = config.text("base_path")
    for path in (root / base_path.lstrip("/"), root / Path(base_path).name):
        if base_path and path.is_dir() and path.resolve().is_relative_to(root.resolve()):
            return path
    raise MigrationRefused(f"Its base_path {base_path[:200]!r} is not within {root}; copy it there.")


def _describe(root: Path, base: Path, config: ProtobufMessage) -> SourceModel:
    there = numbered_versions(root, base, ONNX_FILE)
    served = served_by(config.message("model_version_policy"), there)
    labels = _labels(config)
    names = {version.name for version in served}
    return SourceModel(
        config.text("name", base.name),
        shown(root, base),
        versions=tuple(served),
        aliases={label: name for label, name in labels.items() if name in names},
        left=(
            *_saved_models(root, base),
            *not_served(there, served),
            *(NotImported(f"label {label}", f"version {name} did not come along; set the alias once it has")
              for label, name in labels.items() if name not in names),
            *(NotImported(field[:64], _REMEDIES.get(field, "there is nothing like it"))
              for field in config.fields if field not in _READ),
        ),
        origin={"server": "tensorflow-serving"},
    )  # fmt: skip


def _labels(config: ProtobufMessage) -> dict[str, str]:
    entries = config.messages("version_labels")
    return {entry.text("key"): str(number) for entry in entries for number in entry.numbers("value")[-1:]}


def _saved_models(root: Path, base: Path) -> list[NotImported]:
    folders = [
        folder for folder in subfolders(base)
        if os.path.lexists(folder / SAVED_MODEL) and not os.path.lexists(folder / ONNX_FILE)
    ]  # fmt: skip
    return [
        NotImported(f"version {folder.name[:64]}, a SavedModel", _CONVERT.format(folder=shown(root, folder)))
        for folder in folders
    ]
