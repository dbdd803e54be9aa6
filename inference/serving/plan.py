"""The plan: all that a serving process needs to know, in a file that replaces the database.

The registry publishes it after every change; serving processes read it again within a second. A change of one model is
a line in a second file beside it, until these have become as large as the plan; whoever reads a plan reads both.
"""

import math
import os
import re
from pathlib import Path
from typing import NamedTuple, Self

import msgspec
from msgspec import Struct

from driftline.base.durable_files import write_file
from driftline.base.errors import UNREADABLE
from inference.signatures import EndpointSpec, Signature

PLAN_FILE = "plan.json"
MIN_CHANGES_BYTES = 64 << 10
_TAIL_BYTES = 16 << 10  # that hold most changes
NONE, PROCESS = "none", "process"  # the isolations of a version
INFER_MODEL = "infer_model"
"""The one scope of a token for one model. Nobody can give it, and processes that know no `model_id` refuse it."""


class PlanVersion(Struct, frozen=True):
    """A servable version: an ONNX file, whose `path` is relative to DRIFTLINE_HOME, or an `endpoint` and no file.

    `execution_provider` is one of `inference.runtime.providers.PROVIDERS`. With `value_costs` the cost of a run depends
    on the values of its input, so no run happens in the event loop. With the `isolation` "process" the file runs in a
    process of its own: see `inference.runtime.isolated`.
    """

    id: int
    version: str
    sha256: str
    path: str
    signature: Signature
    execution_provider: str = "cpu"
    endpoint: EndpointSpec | None = None
    value_costs: bool = False
    isolation: str = NONE


class PlanCanary(Struct, frozen=True):
    """A version that answers a share `weight` of the keys; `key` says what of a request is its key.

    `key` is "subject", "client_id" or "tag:<name>"; a request without it is its own key, by its prediction id.
    """

    version: str
    weight: float
    key: str


class PlanModel(Struct, frozen=True):
    """A model's deployment; `champion`, `shadows`, `canary`, `previous` and the values of `aliases` name versions.

    `previous` is the champion of before, which stays loaded until `previous_until` (a POSIX time) so that a
    rollback needs no disk. `shadow_shares` gives the share of rows that a shadow gets a copy of; 1 where absent.
    `privacy` names the features that are logged as a keyed hash, for their summaries alone, or not at all. Of
    `thumbnail_share` of the rows that are images a thumbnail is logged.
    """

    id: int
    project_id: int
    name: str
    generation: int
    champion: str | None
    shadows: list[str]
    versions: list[PlanVersion]
    aliases: dict[str, str] = {}
    canary: PlanCanary | None = None
    shadow_shares: dict[str, float] = {}
    previous: str | None = None
    previous_until: float = 0.0
    privacy: dict[str, str] = {}
    thumbnail_share: float = 0.0

    def find(self, version: str) -> PlanVersion | None:
        """Find the servable version of that name."""
        return next((candidate for candidate in self.versions if candidate.version == version), None)


class PlanToken(Struct, frozen=True):
    """A token that may call; `digest` is the SHA-256 of its whole text, `expires_at` a POSIX time.

    Its limits hold in each serving process; 0 is none. `networks`, in CIDR notation, are those from which alone it may
    call, unless there are none. The secret of before a rotation has `previous_digest` and ends at `previous_until`. One
    with a `model_id`, its scope INFER_MODEL, asks this model for predictions, and nothing else;
    what it asks is logged with its `tags`.
    """

    digest: str
    prefix: str
    project_id: int
    scopes: list[str]
    expires_at: float | None
    requests_per_second: int = 0
    rows_per_second: int = 0
    networks: list[str] = []
    previous_digest: str = ""
    previous_until: float = 0.0
    model_id: int = 0
    tags: dict[str, str] = {}


class PlanCallback(Struct, frozen=True):
    """The name by which a project's requests ask to be told when their job has ended."""

    id: int
    project_id: int
    name: str


class Plan(Struct, frozen=True):
    """Everything that is served; `generation` grows with every publication.

    `row_quotas` holds the rows a second that may be asked of a project's models in each process, by its id.
    `full_projects` says by id why the models of projects answer nothing that would be logged.
    """

    generation: int
    models: list[PlanModel]
    tokens: list[PlanToken]
    callbacks: list[PlanCallback] = []
    row_quotas: dict[int, int] = {}
    full_projects: dict[int, str] = {}


class PlanChange(Struct, frozen=True):
    """What a publication changed: these models, described anew, and those that are no longer served."""

    generation: int
    models: list[PlanModel]
    removed: list[int] = []


class PlanUnreadable(ValueError):
    """The plan file is missing or is not a plan."""


class _UnreadPlan(Struct):
    """A plan whose models are still JSON."""

    generation: int
    models: list[msgspec.Raw]
    tokens: list[PlanToken]
    callbacks: list[PlanCallback] = []
    row_quotas: dict[int, int] = {}
    full_projects: dict[int, str] = {}


_unread = msgspec.json.Decoder(_UnreadPlan)
_model = msgspec.json.Decoder(PlanModel)
_change = msgspec.json.Decoder(PlanChange)


class PlanReader:
    """Reads a plan again and again; a model that is as it was is the same object, and is not decoded again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changes = changes_path(path)
        self._base: _UnreadPlan | None = None
        self._seen: _Seen | None = None
        self._read_to = 0  # the end of the last whole line of changes that was read
        self._models: dict[bytes, PlanModel] = {}  # of the plan file, by their JSON
        self._current: dict[int, PlanModel] = {}  # with the changes since, by id
        self._generation = 0

    def has_changed(self) -> bool:
        """Return whether there is a plan that was not read yet."""
        seen = self._look()
        return seen.base is not None and seen != self._seen

    def read(self) -> Plan:
        """Read the plan as it is now; raise PlanUnreadable where there is none."""
        seen, before = self._look(), self._seen
        self._seen = seen  # one that is unreadable is read again when it is another
        try:
            if before is not None and self._base is not None and seen.follows(before, self._read_to):
                self._apply(self._read_changes(self._read_to))
            else:
                # Changes first: the plan may hold them by the time that it is read, never the other way round.
                lines = self._read_changes(0)
                self._read_base()
                self._apply(lines)
        except (OSError, *UNREADABLE) as error:
            self._base = None
            raise PlanUnreadable(f"{self._path} holds no plan ({error}); publish it again.") from error
        assert self._base is not None
        models = sorted(self._current.values(), key=lambda model: model.id)
        base = self._base
        return Plan(
            self._generation, models, base.tokens, base.callbacks, base.row_quotas, base.full_projects
        )

    def _look(self) -> "_Seen":
        return _Seen(_identity(self._path), *_end_of(self._changes))

    def _read_base(self) -> None:
        base = _unread.decode(self._path.read_bytes())
        texts = [bytes(model) for model in base.models]
        self._models = {text: self._models.get(text) or self._decode(text) for text in texts}
        self._current = {model.id: model for model in self._models.values()}
        self._base, self._generation = base, base.generation

    def _decode(self, text: bytes) -> PlanModel:
        """Decode a model; where a change brought it before, it is that same object."""
        model = _model.decode(text)
        known = self._current.get(model.id)
        return known if known is not None and known == model else model

    def _read_changes(self, start: int) -> list[bytes]:
        """Read the whole lines from a place in the file on; one that is still being written is read next time."""
        try:
            with self._changes.open("rb") as file:
                file.seek(start)
                text = file.read()
        except FileNotFoundError:
            self._read_to = 0
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._read_to = start + len(whole)
        return whole.splitlines()

    def _apply(self, lines: list[bytes]) -> None:
        assert self._base is not None
        for change in map(_change.decode, lines):
            if change.generation <= self._base.generation:
                continue  # the plan file holds it
            self._current |= {model.id: model for model in change.models}
            for model_id in change.removed:
                self._current.pop(model_id, None)
            self._generation = change.generation


class _Seen(NamedTuple):
    """Which files were read: what a plan file is known by, and the number and size of the file of changes."""

    base: tuple[int, int, int] | None
    changes: int | None
    size: int

    def follows(self, before: Self, read_to: int) -> bool:
        """Return whether nothing but changes came since, of which so much was read."""
        is_same_file = before.changes in (None, self.changes)
        return self.base == before.base and is_same_file and self.size >= read_to


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _end_of(path: Path) -> tuple[int | None, int]:
    identity = _identity(path)
    return (identity[0], identity[2]) if identity else (None, 0)


def changes_path(path: Path) -> Path:
    """Return the file of what changed since a plan file was written, a line each."""
    return path.with_name(f"{path.stem}-changes.jsonl")


def load_plan(path: Path) -> Plan:
    """Read the plan at `path` once; raise PlanUnreadable where there is none."""
    return PlanReader(path).read()


def publish_plan(plan: Plan, path: Path) -> None:
    """Replace the plan at `path` in one step: a reader sees the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, msgspec.json.encode(plan))
    # The plan holds them; who finds them still there skips older generations.
    changes_path(path).unlink(missing_ok=True)


def publish_change(change: PlanChange, path: Path) -> bool:
    """Add what changed to the plan at `path`; False where the whole plan is to be published instead.

    That is so where there is no plan, where it or a change before is newer than this one (the database was restored
    from a backup), where a writer died in the middle of a line, and where the changes have become as large as the
    plan: a burst of changes costs as much as its size, not as that of all models.
    """
    changes = changes_path(path)
    line = msgspec.json.encode(change) + b"\n"
    try:
        size, written = path.stat().st_size, changes.stat().st_size if changes.exists() else 0
        if written + len(line) > max(size, MIN_CHANGES_BYTES):
            return False
        if change.generation <= max(_generation_of(path, 0), _newest_change(changes, written)):
            return False
        handle = os.open(changes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return False
    try:
        is_whole = os.write(handle, line) == len(line)
        os.fsync(handle)
    finally:
        os.close(handle)
    return is_whole


def _newest_change(changes: Path, size: int) -> float:
    """Read the generation of the last line; 0 where there is none, infinity where it is cut off."""
    if not size:
        return 0
    with changes.open("rb") as file:
        start, tail = size, b""
        while start and b"\n" not in tail[:-1]:
            start = max(0, start - _TAIL_BYTES)
            file.seek(start)
            tail = file.read(size - start)
    if not tail.endswith(b"\n"):
        return math.inf
    return _generation_of(changes, start + tail.rfind(b"\n", 0, -1) + 1)


def _generation_of(path: Path, start: int) -> float:
    """Read the generation off the start of a plan or of a change; infinity where it does not start with one."""
    with path.open("rb") as file:
        file.seek(start)
        start_of_one = re.match(rb'\{"generation":(\d+),', file.read(40))
    return int(start_of_one[1]) if start_of_one else math.inf
