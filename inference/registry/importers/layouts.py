"""Which server a folder is of."""

from collections.abc import Callable
from pathlib import Path

from inference.registry.importers import mlflow, mlserver, tensorflow_serving, triton
from inference.registry.importers.folder import find_files, subfolders
from inference.registry.importers.source_model import MigrationRefused, SourceModel

READERS: dict[str, Callable[[Path], list[SourceModel]]] = {
    "triton": triton.read_repository,
    "tensorflow-serving": tensorflow_serving.read_configs,
    "mlserver": mlserver.read_models,
    "mlflow": mlflow.read_models,
}


def read_folder(root: Path, server: str | None) -> tuple[str, list[SourceModel]]:
    """Read the models of a folder that the server, or the only one whose layout it has, left there.

    Raises MigrationRefused where there is no such layout, or more than one.
    """
    if not root.is_dir():
        raise MigrationRefused(f"{root} is no folder.")
    server = server or _detect(root)
    models = READERS[server](root)
    if not models:
        raise MigrationRefused(f"{root} holds no model as {server} keeps them.")
    return server, models


def _detect(root: Path) -> str:
    marks = {
        "triton": any((folder / triton.CONFIG).exists() for folder in subfolders(root)),
        "tensorflow-serving": bool(
            tensorflow_serving.config_files(root) or find_files(root, tensorflow_serving.SAVED_MODEL)
        ),
        "mlserver": bool(find_files(root, mlserver.SETTINGS)),
        "mlflow": bool(find_files(root, mlflow.MLMODEL)),
    }
    if marks["mlserver"]:
        marks["mlflow"] = False  # MLServer serves MLflow's folders too
    if not any(
        marks.values()
    ):  # Triton needs no configuration for ONNX; others keep files in such folders too
        marks["triton"] = any(triton.is_model(folder) for folder in subfolders(root))
    found = [server for server, is_there in marks.items() if is_there]
    if len(found) == 1:
        return found[0]
    what = f"could be of {' or '.join(found)}" if found else "has no file of any of these servers"
    raise MigrationRefused(f"{root} {what}; say --from {'|'.join(READERS)}.")
