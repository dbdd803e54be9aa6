"""MLServer's `model-settings.json`, one beside each model's files.

https://github.com/SeldonIO/MLServer/blob/master/docs/reference/model-settings.md. Of its runtimes those for MLflow, and
ones that people wrote themselves, may run ONNX: whether one does shows in the file that `parameters.uri` names.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from driftline.base.errors import UNREADABLE
from inference.registry.importers.folder import file_within, find_files, read_text, shown, within
from inference.registry.importers.mlflow import MLMODEL, read_model
from inference.registry.importers.source_model import (
    DeclaredTensor,
    MigrationRefused,
    NotImported,
    SourceModel,
    SourceVersion,
    unreadable,
)

SETTINGS = "model-settings.json"
_PUSHED = ("sklearn", "lightgbm", "xgboost")
_OURS = {
    "max_batch_size": "requests are joined by measured cost, up to 10,000 rows at a time",
    "max_batch_time": "requests that wait are joined; nobody waits for company",
    "warm_workers": "each version is warmed with the last real rows before it answers",
}
_REMEDIES = {
    "parallel_workers": "DRIFTLINE_WEB_WORKERS is the number of processes, each with one copy of every model",
    "cache_enabled": "each request is answered anew: keep a cache in the caller",
}
_LEFT_PARAMETERS = {
    "content_type": "each protocol says in its requests how values are written",
    "extra": "there is nothing like it",
    "environment_tarball": "ONNX needs no environment of its own",
}


class Tensor(msgspec.Struct, frozen=True):
    """An input or output of the settings."""

    name: str
    datatype: str | None = None
    shape: list[int] | None = None


class Parameters(msgspec.Struct, frozen=True):
    """Where the model's files are, and which version they are."""

    uri: str | None = None
    version: str | None = None
    content_type: Any = None
    extra: Any = None
    environment_tarball: Any = None


class Settings(msgspec.Struct, frozen=True):
    """What we read of a settings file; other fields are passed over by the reader."""

    name: str = ""
    implementation: str = ""
    inputs: list[Tensor] = msgspec.field(default_factory=list)
    outputs: list[Tensor] = msgspec.field(default_factory=list)
    parameters: Parameters | None = None


def read_models(root: Path) -> list[SourceModel]:
    """Read each settings file of the folder."""
    return [_read(root, path) for path in find_files(root, SETTINGS)]


def _read(root: Path, path: Path) -> SourceModel:
    place = shown(root, path)
    try:
        text = read_text(root, path)
        try:
            fields = msgspec.json.decode(text, type=dict[str, Any])
            settings = msgspec.convert(fields, Settings)
        except UNREADABLE as error:
            raise MigrationRefused(f"{place} is not as expected: {str(error)[:200]}.") from error
        return _describe(root, path, settings, fields)
    except MigrationRefused as refusal:
        return unreadable(path.parent.name, place, refusal)


def _describe(root: Path, path: Path, settings: Settings, fields: dict[str, Any]) -> SourceModel:
    parameters = settings.parameters or Parameters()
    name = settings.name or path.parent.resolve().name
    found = _find_model(root, path.parent, settings, parameters, SourceModel(name, shown(root, path.parent)))
    left = [
        *(NotImported(field, remedy) for field, remedy in _REMEDIES.items() if fields.get(field)),
        *(NotImported(f"parameters.{field}", remedy) for field, remedy in _LEFT_PARAMETERS.items()
          if getattr(parameters, field)),
    ]  # fmt: skip
    kept = tuple(f"{field}: {ours}" for field, ours in _OURS.items() if fields.get(field))
    return replace(found, kept=(*found.kept, *kept) if found.versions else (), left=(*found.left, *left))


def _find_model(
    root: Path, folder: Path, settings: Settings, parameters: Parameters, model: SourceModel
) -> SourceModel:
    """Complete the description by the file that `uri` names, or the only one that could be meant."""
    target = _target(root, folder, parameters.uri)
    if target.is_dir() and (target / MLMODEL).exists():
        logged = read_model(root, target / MLMODEL)
        versions = tuple(
            replace(version, name=parameters.version or version.name) for version in logged.versions
        )
        return replace(
            logged,
            name=model.name,
            place=model.place,
            versions=versions,
            origin={**logged.origin, "server": "mlserver"},
        )
    files = [target] if target.is_file() else sorted(target.glob("*.onnx"))
    if len(files) != 1 or files[0].suffix != ".onnx":
        return replace(model, left=(_without_onnx(settings, files),))
    return replace(
        model,
        versions=(SourceVersion(parameters.version or "1", file_within(root, files[0])),),
        inputs=_tensors(settings.inputs),
        outputs=_tensors(settings.outputs),
        origin={"server": "mlserver", "implementation": settings.implementation[:200]},
    )


def _target(root: Path, folder: Path, uri: str | None) -> Path:
    if uri is not None and "://" in uri:
        raise MigrationRefused(f"Its uri is {uri[:200]!r}; download it, and name the file in parameters.uri.")
    return within(root, folder / (uri or "."))


def _without_onnx(settings: Settings, files: list[Path]) -> NotImported:
    if len(files) > 1:
        return NotImported("the model", f"{len(files)} files end in .onnx; name one in parameters.uri")
    runtime = settings.implementation or "its runtime"
    known = next((library for library in _PUSHED if library in runtime.lower()), "")
    remedy = f"driftline_client.push converts {known} models" if known else "export it as ONNX"
    return NotImported(f"the model of {runtime[:100]}", remedy)


def _tensors(tensors: list[Tensor]) -> tuple[DeclaredTensor, ...]:
    """Read tensors; MLServer's shapes have the rows' dimension first, as ours."""
    return tuple(
        DeclaredTensor(tensor.name, tensor.datatype, tuple(tensor.shape) if tensor.shape else None)
        for tensor in tensors
    )
