"""Which versions are on the disk: the one that answers, the one before it, and what was refused.

One file names them, and is replaced in one step when a version has proved itself: a power cut before leaves the version
of before, which is still there.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from driftline_agent.durable_files import write_file
from driftline_agent.server.manifest import Manifest, SignedManifest

MAX_REFUSED = 20


@dataclass(frozen=True)
class Versions:
    """What a device has. `refused` says why a release cannot be had, by its number."""

    current: SignedManifest | None = None
    previous: SignedManifest | None = None
    generation: int = 0
    refused: dict[str, str] = field(default_factory=dict)

    def failure_of(self, release: int) -> str:
        """Return why a release was refused; empty where it was not."""
        return self.refused.get(str(release), "")


class VersionStore:
    """The folder of versions."""

    def __init__(self, home: Path) -> None:
        self._state = home / "versions.json"
        self.folder = home / "models"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.now = self._read()

    def path_of(self, manifest: Manifest) -> Path:
        return self.folder / f"{manifest.sha256}.onnx"

    def draft_of(self, manifest: Manifest) -> Path:
        """Return where a file is while it arrives."""
        return self.folder / f"{manifest.sha256}.part"

    def install(self, signed: SignedManifest, generation: int, *, keeps_current: bool = True) -> None:
        """Put a version that has proved itself in the place of the current one.

        That one stays beside it as the one to go back to, unless it is taken back itself.
        """
        previous = self.now.current if keeps_current else None
        self._store(replace(self.now, current=signed, previous=previous, generation=generation))
        self._tidy()

    def renew(self, signed: SignedManifest, generation: int) -> None:
        """Note a newer manifest of the version that answers already."""
        self._store(replace(self.now, current=signed, generation=generation))
        self._tidy()

    def roll_back(self) -> None:
        """Put the previous version in the place of the current one."""
        self._store(replace(self.now, current=self.now.previous, previous=None))
        self._tidy()

    def take_back(self, release: int, reason: str) -> None:
        """Refuse the release of the current version, and put the one of before in its place.

        What is known changes also where the disk takes nothing, so that the server hears of it; raises OSError then.
        """
        self.now = replace(
            self.now, current=self.now.previous, previous=None, refused=self._refused_with(release, reason)
        )
        self._store(self.now)

    def refuse(self, release: int, reason: str, generation: int) -> None:
        """Remember that a release cannot be had, so that it is not tried again and again, and remove its file."""
        refused = self._refused_with(release, reason)
        self._store(replace(self.now, refused=refused, generation=max(generation, self.now.generation)))
        self._tidy()

    def _refused_with(self, release: int, reason: str) -> dict[str, str]:
        return dict(list({**self.now.refused, str(release): reason}.items())[-MAX_REFUSED:])

    def _store(self, versions: Versions) -> None:
        write_file(self._state, json.dumps(asdict(versions), indent=1).encode())
        self.now = versions

    def _read(self) -> Versions:
        try:
            document = json.loads(self._state.read_text())
            signed = {
                name: SignedManifest(**document[name]) if document[name] else None
                for name in ("current", "previous")
            }
            return Versions(
                signed["current"], signed["previous"], int(document["generation"]), dict(document["refused"])
            )
        except FileNotFoundError:
            return Versions()
        except (ValueError, KeyError, TypeError):  # nothing that was signed is lost: the server has it
            return Versions()

    def _tidy(self) -> None:
        """Remove what belongs to versions that are neither the current one nor the one before."""
        present = {f"{digest}{end}" for digest in self._digests() for end in (".onnx", ".compiled", ".trial")}
        for path in self.folder.iterdir():
            if path.name in present:
                continue
            if path.is_dir():  # of what an accelerator compiled
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _digests(self) -> Iterator[str]:
        for signed in (self.now.current, self.now.previous):
            if signed is not None:
                yield _sha256_of(signed)


def _sha256_of(signed: SignedManifest) -> str:
    return str(json.loads(signed.manifest)["sha256"])
