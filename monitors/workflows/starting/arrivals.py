"""A file that comes from another server: where it lies until the intake has it, and what is said of it."""

import tempfile
from pathlib import Path
from typing import IO

from django.conf import settings

from inference.registry.intake.metadata import UploadMetadata, declare
from inference.registry.models import Model
from inference.registry.selectors import signature_of


def arriving_file() -> IO[bytes]:
    """Open a file where there is room for artifacts; it has no name, so that a worker that dies keeps no room."""
    folder = Path(settings.HOME) / "artifacts"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=folder)


def metadata_of_champion(model: Model) -> UploadMetadata | None:
    """Return for a file what is known of the champion, as its callers will ask it; None where none has a signature."""
    champion = model.deployment.champion
    if champion is None or not champion.signature:
        return None
    return declare(signature_of(champion))
