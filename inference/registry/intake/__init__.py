"""First opening of an uploaded ONNX file, in a child process that has nothing to lose.

An ONNX file is a program: 82 bytes can ask for 256 GiB, 211 can loop for ever, and the official checker passes
both. So nobody but the child (`child.py`) parses it; the caller only looks at the first bytes, hashes them all
and reads a small report.
"""

from inference.registry.intake.errors import IntakeRefused
from inference.registry.intake.launcher import examine_artifact, inspect_artifact
from inference.registry.intake.limits import IntakeLimits
from inference.registry.intake.metadata import UploadMetadata, parse_metadata
from inference.registry.intake.report import IntakeReport

__all__ = [
    "IntakeLimits",
    "IntakeRefused",
    "IntakeReport",
    "UploadMetadata",
    "examine_artifact",
    "inspect_artifact",
    "parse_metadata",
]
