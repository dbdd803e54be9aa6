"""Keeps the routing table in step with the plan file, loading versions in a thread beside the old ones."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from driftline.common.outbound.rules import NO_RULES, OutboundRules
from inference.prediction_log.privacy import Privacy, read_hash_key
from inference.runtime.session import ModelRefused
from inference.serving.crashes import quarantined
from inference.serving.plan import PLAN_FILE, Plan, PlanModel, PlanReader, PlanUnreadable, PlanVersion
from inference.serving.rehearsal import rehearse, warm_up
from inference.serving.routing import Route, RoutingTable
from inference.serving.versions import LoadedVersion

LOOK_SECONDS = 0.2
RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 300.0
MAX_EXTRA_VERSIONS = 16
log = logging.getLogger(__name__)


class PlanKeeper:
    """Watches DRIFTLINE_HOME/plan.json and makes a new table whenever it, or what is loaded, changes.

    A version that is to answer is first tried on what the champion was lately asked; one that fails, or that is
    quarantined, leaves the champion in its place.
    """

    def __init__(
        self, home: Path, adopt: Callable[[RoutingTable], object], rules: OutboundRules = NO_RULES
    ) -> None:
        """Make a keeper; `adopt` is called from its thread with each new table.

        Versions that another server answers are asked under these `rules`.
        """
        self._home = home
        self._rules = rules
        self._path = home / PLAN_FILE
        self._reader = PlanReader(self._path)
        self._adopt = adopt
        self._seen: tuple[int, int, int] | None = None
        self._plan = Plan(0, [], [])
        self._table: RoutingTable | None = None
        self._loaded: dict[int, LoadedVersion] = {}
        self._failed: dict[int, str] = {}
        self._retry_at = 0.0
        self._retry_pause = RETRY_SECONDS
        self._quarantined: dict[int, str] = {}
        self._proven: set[int] = set()  # versions that have answered or passed their rehearsal
        self._expires_at = float("inf")  # when the next previous champion is let go
        self._extras: OrderedDict[int, None] = OrderedDict()  # versions asked for though not deployed
        self._wanted: dict[int, tuple[PlanModel, PlanVersion]] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._watch, name="plan", daemon=True)

    def start(self) -> None:
        """Load the present plan, then go on watching in a thread."""
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def want(self, model: PlanModel, version: PlanVersion) -> None:
        """Ask for a version that is in the plan but not deployed; the next table will have it."""
        self._wanted[version.id] = (model, version)
        self._wake.set()

    def _watch(self) -> None:
        while not self._stopping:
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()
            try:
                self.look()
            except Exception:
                log.exception("the plan could not be applied")

    def look(self) -> None:
        """Make a new table if the plan or the quarantine has changed, or something is asked for or due."""
        changed = self._read_plan() | self._read_quarantine()
        wanted, self._wanted = self._wanted, {}
        retry = bool(self._failed.keys() - self._quarantined) and time.monotonic() > self._retry_at
        expired = time.time() >= self._expires_at
        if not (changed or wanted or retry or expired or self._table is None):
            return
        if changed or retry:
            self._failed = {}
            self._retry_pause = (
                RETRY_SECONDS if changed else min(self._retry_pause * 2, LONGEST_RETRY_SECONDS)
            )
        for model, version in wanted.values():
            self._remember_extra(version.id)
            self._load(model, version)
        for model in self._plan.models:
            self._load_deployed(model)
        self._swap()

    def _read_quarantine(self) -> bool:
        found = quarantined(self._home)
        if found == self._quarantined:
            return False
        self._quarantined = found
        return True

    def _read_plan(self) -> bool:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return False
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen == self._seen:
            return False
        try:
            self._plan = self._reader.read()
        except PlanUnreadable:
            log.exception("the plan is unreadable; the one before stays in force")
            return False
        finally:
            self._seen = seen
        return True

    def _load_deployed(self, model: PlanModel) -> None:
        champion = self._champion_of(model)
        for version in _deployed(model):
            self._load(model, version)
            if version.version in _answering(model):
                self._rehearse(model, version, champion)

    def _champion_of(self, model: PlanModel) -> LoadedVersion | None:
        """Give the version that answers for a model now."""
        route = self._table.champion(model.id) if self._table is not None else None
        return route.version if route is not None else None

    def _load(self, model: PlanModel, version: PlanVersion) -> None:
        if version.id in self._quarantined:
            self._loaded.pop(version.id, None)
            self._failed[version.id] = self._quarantined[version.id]
            return
        present = self._loaded.get(version.id)
        if version.id in self._failed or (present is not None and present.plan == version):
            return
        champion = self._champion_of(model)
        same_inputs = champion is not None and champion.plan.signature.inputs == version.signature.inputs
        asked = champion.recent.one_row() if champion is not None and same_inputs else None
        try:
            loaded = LoadedVersion(self._home, model, version, asked, self._rules)
        except (ModelRefused, ValueError) as error:
            self._fail(model, version, "a version cannot be loaded", error)
            return
        self._loaded[version.id] = loaded
        self._proven.discard(version.id)
        if champion is not None and version.version not in _answering(model):
            warm_up(loaded, champion)

    def _rehearse(self, model: PlanModel, version: PlanVersion, champion: LoadedVersion | None) -> None:
        """Try a version that is to answer, unless it has answered before: a rollback is never refused."""
        loaded = self._loaded.get(version.id)
        if loaded is None or champion is None or version.id in self._proven:
            return
        try:
            rehearse(loaded, champion)
        except ModelRefused as error:
            self._fail(model, version, "a version failed its rehearsal", error)
        else:
            self._proven.add(version.id)

    def _fail(self, model: PlanModel, version: PlanVersion, what: str, error: Exception) -> None:
        self._failed[version.id] = str(error)
        self._retry_at = time.monotonic() + self._retry_pause
        log.error(what, extra={"model": model.name, "version": version.version, "reason": str(error)})

    def _protect(self) -> None:
        """Bring what the log keeps of each version's features to the plan."""
        for model in self._plan.models:
            privacy = Privacy(model.id, model.privacy, read_hash_key(self._home)) if model.privacy else None
            for version in model.versions:
                if (loaded := self._loaded.get(version.id)) is not None:
                    loaded.privacy = privacy

    def _swap(self) -> None:
        self._protect()
        table = RoutingTable(self._plan, dict(self._loaded), dict(self._failed), self._table)
        self._table = table
        self._proven |= {route.version.plan.id for route in table.champions()}
        self._forget_unused(table)
        self._adopt(table)

    def _remember_extra(self, version_id: int) -> None:
        self._extras[version_id] = None
        self._extras.move_to_end(version_id)

    def _forget_unused(self, table: RoutingTable) -> None:
        """Let go of versions that are neither deployed nor among the last ones asked for."""
        deployed = {version.id for model in self._plan.models for version in _deployed(model)}
        for route in table.champions():
            deployed |= _versions_of(route)
        for version_id in deployed & self._extras.keys():
            del self._extras[version_id]
        while len(self._extras) > MAX_EXTRA_VERSIONS:
            self._extras.popitem(last=False)
        keep = deployed | self._extras.keys()
        self._loaded = {
            version_id: version for version_id, version in self._loaded.items() if version_id in keep
        }
        self._proven &= self._loaded.keys()
        now = time.time()
        ends = [model.previous_until for model in self._plan.models if model.previous_until > now]
        self._expires_at = min(ends, default=float("inf"))


def _answering(model: PlanModel) -> list[str]:
    """Name the versions that are to answer requests."""
    canary = model.canary.version if model.canary is not None else None
    return [name for name in (model.champion, canary) if name is not None]


def _deployed(model: PlanModel) -> Iterator[PlanVersion]:
    """Give the versions that are to be in memory: those that answer, the shadows, and the champion of before."""
    previous = model.previous if time.time() < model.previous_until else None
    for name in dict.fromkeys([*_answering(model), *model.shadows, previous]):
        version = model.find(name) if name is not None else None
        if version is not None:
            yield version


def _versions_of(route: Route) -> set[int]:
    """Give the ids of a route's version and of all that stand beside it."""
    beside = [*route.shadows, *([route.canary.route.version] if route.canary else [])]
    return {route.version.plan.id, *(version.plan.id for version in beside)}
