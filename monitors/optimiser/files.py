"""The files of variants that gain: `variants/<sha256>.onnx` under DRIFTLINE_HOME, until somebody registers one.

They are no artifacts: the intake has not passed them, so no serving process may load one.
"""

import hashlib
from pathlib import Path

from django.conf import settings

from driftline.base.durable_files import write_file
from monitors.optimiser.models import Variant

_FOLDER = "variants"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def keep(content: bytes) -> str:
    """Write a variant's bytes whole or not at all; gives the path relative to the home."""
    folder: Path = settings.HOME / _FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{digest(content)}.onnx"
    write_file(path, content, mode=0o600)
    return str(path.relative_to(settings.HOME))


def remove_if_unused(path: str) -> None:
    """Remove a file that no variant names any more."""
    if path and not Variant.objects.filter(path=path).exists():
        (settings.HOME / path).unlink(missing_ok=True)
