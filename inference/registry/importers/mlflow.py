"""MLflow's model folders: an `MLmodel` (YAML) beside the files of its flavors. https://mlflow.org/docs/latest/ml/model/

A registered model's download also has `registered_model_meta`, with its name and version.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from inference.registry.importers.folder import file_within, find_files, read_text, shown
from inference.registry.importers.source_model import (
    DeclaredTensor,
    MigrationRefused,
    NotImported,
    SourceModel,
    SourceVersion,
    unreadable,
)
from inference.registry.intake.metadata import FeatureDeclaration, UploadMetadata

MLMODEL = "MLmodel"
_REGISTERED = "registered_model_meta"
_DATATYPES = {
    "float64": "FP64", "float32": "FP32", "float16": "FP16", "bool": "BOOL", "str": "BYTES", "object": "BYTES",
    **{f"{sign}int{bits}": f"{sign}int{bits}".upper() for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip
_OPENING = (
    yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken, yaml.BlockMappingStartToken,
)  # fmt: skip
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
_DEEPEST = 50
_PUSHED = ("sklearn", "lightgbm", "xgboost", "pytorch", "keras")
_NO_ONNX = "log it once more as ONNX (mlflow.onnx.log_model)"


def read_models(root: Path) -> list[SourceModel]:
    """Read each model folder; of those that are versions of one model the highest comes first."""
    models = [read_model(root, path) for path in find_files(root, MLMODEL)]
    return sorted(models, key=lambda model: (model.name, -_number(model)))


@dataclass(frozen=True)
class OnnxFlavor:
    """What an `MLmodel` says of its ONNX: where the file lies beside it, and what the signature names."""

    path: str
    metadata: UploadMetadata


def read_onnx_flavor(text: str) -> OnnxFlavor:
    """Read an `MLmodel`; MigrationRefused for one without an ONNX flavor, with what to do."""
    document = _mapping(text, MLMODEL)
    flavors = _part(document, "flavors")
    if "onnx" not in flavors:
        missing = _without_onnx(flavors)
        raise MigrationRefused(f"It has {missing.what} and no ONNX: {missing.remedy}.")
    return OnnxFlavor(_data(flavors), _metadata(_schema(document, "inputs")))


def _data(flavors: dict[str, Any]) -> str:
    return str(_part(flavors, "onnx").get("data", "model.onnx"))


def _metadata(inputs: list[dict[str, Any]]) -> UploadMetadata:
    return UploadMetadata(features=[FeatureDeclaration(column) for column in _columns(inputs)])


def _number(model: SourceModel) -> int:
    name = model.versions[0].name if model.versions else ""
    return int(name) if name.isdecimal() and len(name) < 19 else 0


def read_model(root: Path, path: Path) -> SourceModel:
    """Read one `MLmodel` and what lies beside it."""
    place = shown(root, path)
    try:
        return _describe(root, path.parent, _mapping(read_text(root, path), place))
    except MigrationRefused as refusal:
        return unreadable(path.parent.name, place, refusal)


def _describe(root: Path, folder: Path, document: dict[str, Any]) -> SourceModel:
    place = shown(root, folder)
    name, version = _registered(root, folder)
    flavors = _part(document, "flavors")
    if "onnx" not in flavors:
        return SourceModel(name, place, left=(_without_onnx(flavors),))
    file = file_within(root, folder / _data(flavors))
    inputs, outputs = (_schema(document, side) for side in ("inputs", "outputs"))
    origin = {key: str(document[key])[:200] for key in ("run_id", "model_uuid") if document.get(key)}
    return SourceModel(
        name,
        place,
        versions=(SourceVersion(version, file),),
        metadata=_metadata(inputs),
        inputs=_tensors(inputs),
        outputs=_tensors(outputs),
        kept=("signature: the columns' names, in order",) if _columns(inputs) else (),
        left=_left(document, _part(flavors, "onnx")),
        origin={"server": "mlflow", **origin},
    )


def _left(document: dict[str, Any], flavor: dict[str, Any]) -> tuple[NotImported, ...]:
    fields = {
        "providers": (
            flavor.get("providers"),
            "the CPU runs it; PATCH the version's execution_provider for another",
        ),
        "onnx_session_options": (
            flavor.get("onnx_session_options"),
            "ONNX Runtime runs each model with one thread",
        ),
        "saved_input_example_info": (
            document.get("saved_input_example_info"),
            "send the example as a request",
        ),
        "metadata": (document.get("metadata"), "put it into the model's description"),
    }
    return tuple(NotImported(field, remedy) for field, (value, remedy) in fields.items() if value)


def _without_onnx(flavors: dict[str, Any]) -> NotImported:
    named = [flavor for flavor in flavors if flavor != "python_function"] or list(flavors)
    remedy = f"{_NO_ONNX}, or driftline_client.push" if set(named) & set(_PUSHED) else _NO_ONNX
    return NotImported(f"the flavor {', '.join(map(str, named[:5]))[:100] or 'none'}", remedy)


def _registered(root: Path, folder: Path) -> tuple[str, str]:
    """Name model and version: of the registered model that the folder is a download of, else by its folders."""
    file = folder / _REGISTERED
    meta = _mapping(read_text(root, file), shown(root, file)) if file.exists() else {}
    here = folder.resolve()
    name, version = (here.parent.name, here.name) if here.name.isdecimal() else (here.name, "1")
    return str(meta.get("model_name") or name), str(meta.get("model_version") or version)


# -- YAML and the signature within -------------------------------------------------------------------------------------
def _mapping(text: str, place: str) -> dict[str, Any]:
    """Read a YAML mapping."""
    try:
        _check_tokens(text, place)
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise MigrationRefused(f"{place} is not YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(document, dict):
        raise MigrationRefused(f"{place} is no YAML mapping.")
    return document


def _check_tokens(text: str, place: str) -> None:
    """Refuse what a few bytes can make large: aliases, and nesting, whose time to read is quadratic."""
    depth = 0
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if isinstance(token, yaml.AliasToken):
            raise MigrationRefused(f"{place} has YAML aliases; write out what they stand for.")
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > _DEEPEST:
            raise MigrationRefused(f"{place} has more than {_DEEPEST} lists and mappings within each other.")


def _part(document: dict[str, Any], name: str) -> dict[str, Any]:
    part = document.get(name) or {}
    if not isinstance(part, dict):
        raise MigrationRefused(f"The field {name!r} is no mapping.")
    return part


def _schema(document: dict[str, Any], side: str) -> list[dict[str, Any]]:
    """Read one side of the signature, which is a list of columns or tensors in JSON within the YAML."""
    text = _part(document, "signature").get(side) or "[]"
    try:
        schema = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise MigrationRefused(f"The signature's {side} are not JSON.") from error
    if not isinstance(schema, list) or not all(isinstance(entry, dict) for entry in schema):
        raise MigrationRefused(f"The signature's {side} are no list of columns or tensors.")
    return schema


def _columns(schema: list[dict[str, Any]]) -> list[str]:
    """Name the columns of a signature; none where it has tensors, or columns without a name."""
    names = [entry.get("name") for entry in schema if entry.get("type") != "tensor"]
    return [name for name in names if isinstance(name, str)] if all(names) else []


def _tensors(schema: list[dict[str, Any]]) -> tuple[DeclaredTensor, ...]:
    """Read the signature's named tensors; columns say nothing of the ONNX's own inputs."""
    tensors = []
    for entry in schema:
        spec, name = entry.get("tensor-spec"), entry.get("name")
        if isinstance(spec, dict) and isinstance(name, str):
            shape = spec.get("shape")
            sizes = tuple(size for size in shape if isinstance(size, int)) if isinstance(shape, list) else ()
            tensors.append(DeclaredTensor(name, _DATATYPES.get(str(spec.get("dtype"))), sizes or None))
    return tuple(tensors)
