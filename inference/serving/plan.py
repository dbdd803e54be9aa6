"""The plan: all that a serving process needs to know, in one file that replaces the database.

The registry publishes it after every change; serving processes read it again within a second.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from driftline.common.durable_files import write_file
from inference.signatures import EndpointSpec, Signature

PLAN_FILE = "plan.json"
NONE, PROCESS = "none", "process"  # the isolations of a version


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
    `privacy` names the features that are logged as a keyed hash, for their summaries alone, or not at all.
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

    def find(self, version: str) -> PlanVersion | None:
        """Find the servable version of that name."""
        return next((candidate for candidate in self.versions if candidate.version == version), None)


class PlanToken(Struct, frozen=True):
    """A token that may call; `digest` is the SHA-256 of its whole text, `expires_at` a POSIX time.

    Its limits hold in each serving process; 0 is none.
    """

    digest: str
    prefix: str
    project_id: int
    scopes: list[str]
    expires_at: float | None
    requests_per_second: int = 0
    rows_per_second: int = 0


class PlanCallback(Struct, frozen=True):
    """The name by which a project's requests ask to be told when their job has ended."""

    id: int
    project_id: int
    name: str


class Plan(Struct, frozen=True):
    """Everything that is served; `generation` grows with every publication."""

    generation: int
    models: list[PlanModel]
    tokens: list[PlanToken]
    callbacks: list[PlanCallback] = []


class PlanUnreadable(ValueError):
    """The plan file is missing or is not a plan."""


class _UnreadPlan(Struct):
    """A plan whose models are still JSON."""

    generation: int
    models: list[msgspec.Raw]
    tokens: list[PlanToken]
    callbacks: list[PlanCallback] = []


_unread = msgspec.json.Decoder(_UnreadPlan)
_model = msgspec.json.Decoder(PlanModel)


class PlanReader:
    """Reads a plan again and again; a model that is as it was is the same object, and is not decoded again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._models: dict[bytes, PlanModel] = {}

    def read(self) -> Plan:
        """Read the plan as it is now; raise PlanUnreadable where there is none."""
        try:
            unread = _unread.decode(self._path.read_bytes())
            texts = [bytes(model) for model in unread.models]
            self._models = {text: self._models.get(text) or _model.decode(text) for text in texts}
        except (OSError, msgspec.DecodeError) as error:
            raise PlanUnreadable(f"{self._path} holds no plan ({error}); publish it again.") from error
        return Plan(unread.generation, list(self._models.values()), unread.tokens, unread.callbacks)


def load_plan(path: Path) -> Plan:
    """Read the plan at `path` once; raise PlanUnreadable where there is none."""
    return PlanReader(path).read()


def publish_plan(plan: Plan, path: Path) -> None:
    """Replace the plan at `path` in one step: a reader sees the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, msgspec.json.encode(plan))
