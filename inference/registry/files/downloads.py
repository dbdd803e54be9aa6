"""Returns a version's file again, to whoever may have it; each time leaves an audit row."""

from contextlib import ExitStack
from typing import BinaryIO

from django.conf import settings

from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem
from inference.registry.models import Version


def artifact_lost(version: Version) -> Problem:
    """Return the Problem that the version's file is lost (410)."""
    return Problem(
        410,
        "artifact_lost",
        f"The file of version {version.version} is gone from {version.path}; restore it.",
    )


def open_artifact(*, version: Version, actor: str) -> BinaryIO:
    """Open the version's ONNX for reading; one that another server answers has none (409 `version_has_no_artifact`)."""
    if not version.has_artifact:
        raise Problem(
            409,
            "version_has_no_artifact",
            f"Another server answers version {version.version} and has its file.",
        )
    try:
        file = (settings.HOME / version.path).open("rb")
    except FileNotFoundError as error:
        raise artifact_lost(version) from error
    with ExitStack() as unless_audited:
        unless_audited.enter_context(file)
        record_audit(
            project=version.model.project,
            actor=actor,
            action="version.download",
            subject=str(version),
            after={"sha256": version.sha256},
        )
        unless_audited.pop_all()
    return file
