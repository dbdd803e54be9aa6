"""Opens an uploaded ONNX file for the first time, in a child process that has nothing to lose.

Input: the bytes of a file and its metadata.
Output: a report with the signature, or a refusal with a code.

An ONNX file is a program: 82 bytes can ask for 256 GiB, 211 can loop for ever, and the official checker accepts both.
So only the child (`child.py`) parses it; the caller looks at the first bytes, hashes the file and reads a small
report.

Start with `launcher.py` for the caller's side and `examination.py` for the child's.
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
