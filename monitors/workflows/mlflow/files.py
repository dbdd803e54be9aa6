"""The files of a version in MLflow: what its `MLmodel` says of the ONNX, and the ONNX itself."""

import tempfile
from typing import IO

from driftline.base.work.leased_work import WorkFailed
from inference.registry.importers.folder import MAX_TEXT_BYTES
from inference.registry.importers.mlflow import MLMODEL, OnnxFlavor, read_onnx_flavor
from inference.registry.importers.source_model import MigrationRefused
from inference.registry.intake.launcher import DEFAULT_LIMITS
from monitors.workflows.mlflow.client import RegisteredModel

MAX_PATH_LETTERS = 100
MLMODEL_SECONDS, ONNX_SECONDS = 30.0, 600.0  # together less than a task may take


def read_flavor(registry: RegisteredModel, number: str) -> OnnxFlavor:
    """Read where the ONNX of a version lies; raises WorkFailed for one that has none, with what to do."""
    with tempfile.TemporaryFile() as file:
        registry.download(number, MLMODEL, file, max_bytes=MAX_TEXT_BYTES + 1, seconds=MLMODEL_SECONDS)
        file.seek(0)
        content = file.read()
    if len(content) > MAX_TEXT_BYTES:
        raise WorkFailed(f"Its {MLMODEL} is larger than {MAX_TEXT_BYTES:,} bytes; is it the right file?")
    try:
        flavor = read_onnx_flavor(content.decode())
    except UnicodeDecodeError as error:
        raise WorkFailed(f"Its {MLMODEL} is not UTF-8 text.") from error
    except MigrationRefused as refusal:
        raise WorkFailed(str(refusal)) from refusal
    if len(flavor.path) > MAX_PATH_LETTERS:
        raise WorkFailed(f"Its ONNX has a path of {len(flavor.path):,} letters; use a shorter one.")
    return flavor


def download_onnx(registry: RegisteredModel, number: str, flavor: OnnxFlavor, file: IO[bytes]) -> None:
    """Write the ONNX of a version to a file, from its start; one byte more than the intake takes is enough."""
    registry.download(
        number, flavor.path, file, max_bytes=DEFAULT_LIMITS.file_bytes + 1, seconds=ONNX_SECONDS
    )
    file.seek(0)
