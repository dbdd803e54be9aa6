"""What a folder of another server says of its models, whichever server that was."""

from dataclasses import dataclass, field
from pathlib import Path

from inference.registry.intake.metadata import UploadMetadata


class MigrationRefused(Exception):
    """A file of the folder cannot be read as what it should be; the text says what to mend."""


@dataclass(frozen=True)
class DeclaredTensor:
    """An input or output as the other server's description has it.

    `datatype` is V2's, and None where the description names none; `shape` has the rows' dimension first, with -1 for
    any size, and is None where the description does not give it.
    """

    name: str
    datatype: str | None
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class SourceVersion:
    """A version under the name that callers know, with its ONNX file."""

    name: str
    file: Path


@dataclass(frozen=True)
class NotImported:
    """What does not come along, and what to do about it."""

    what: str
    remedy: str


@dataclass(frozen=True)
class SourceModel:
    """A model as another server describes it.

    `versions` are those that it serves, the one first that answers who names none. `aliases` give names to versions.
    `kept` says in words what comes along beside them. `origin` goes into each version's lineage.
    """

    name: str
    place: str
    versions: tuple[SourceVersion, ...] = ()
    metadata: UploadMetadata = field(default_factory=UploadMetadata)
    inputs: tuple[DeclaredTensor, ...] = ()
    outputs: tuple[DeclaredTensor, ...] = ()
    aliases: dict[str, str] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    left: tuple[NotImported, ...] = ()
    origin: dict[str, str] = field(default_factory=dict)


def unreadable(name: str, place: str, refusal: MigrationRefused) -> SourceModel:
    """Describe a model of which nothing can be read but that it is there."""
    return SourceModel(name, place, left=(NotImported(place, str(refusal)),))
