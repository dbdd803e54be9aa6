"""Keeps the routing table in step with the plan file; versions are brought into memory beside it."""

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from driftline.base.http.networks import Network
from driftline.base.outbound.rules import NO_RULES, OutboundRules
from inference.prediction_log.spool.privacy import Privacy, read_hash_key
from inference.serving.crashes import quarantined
from inference.serving.plan import PLAN_FILE, Plan, PlanModel, PlanReader, PlanUnreadable, PlanVersion
from inference.serving.routing import Route, RoutingTable
from inference.serving.versions.preparation import Preparation
from inference.serving.versions.versions import LoadedVersion

LOOK_SECONDS = 0.2
RETRY_SECONDS = 5.0
MAX_RETRY_SECONDS = 300.0
MAX_AT_ONCE = 2  # preparations; one that takes longer than SLOW_SECONDS makes way for the next
SLOW_SECONDS = 2.0
MAX_EXTRA_VERSIONS = 16
log = logging.getLogger(__name__)


class Failure(Struct, frozen=True):
    """Why a version is not in memory; it is tried again after a change, and at `retry_at` where the fault may pass."""

    reason: str
    model: PlanModel
    version: PlanVersion
    retry_at: float
    pause: float

    def is_outdated(self, model: PlanModel, version: PlanVersion) -> bool:
        """Return whether the version, or its model's deployment, has changed since."""
        before = (self.version, self.model.generation)
        return model.id == self.model.id and before != (version, model.generation)


class PlanWatcher:
    """Watches DRIFTLINE_HOME/plan.json and makes a new table whenever it, or what is loaded, changes.

    Tokens and deployments hold as soon as they are read. A version that is to answer is first tried on what the
    champion was lately asked; until it is ready, and where it fails or is quarantined, the champion stays.
    """

    def __init__(
        self,
        home: Path,
        adopt: Callable[[RoutingTable], object],
        rules: OutboundRules = NO_RULES,
        trusted_proxies: Sequence[Network] = (),
    ) -> None:
        """Make a watcher; `adopt` is called from its thread with each new table.

        Versions that another server answers are asked under these `rules`; `trusted_proxies` say where callers are.
        """
        self._home = home
        self._rules = rules
        self._trusted_proxies = trusted_proxies
        self._reader = PlanReader(home / PLAN_FILE)
        self._adopt = adopt
        self._plan = Plan(0, [], [])
        self._table: RoutingTable | None = None
        self._loaded: dict[int, LoadedVersion] = {}
        self._preparing: dict[int, Preparation] = {}  # those that wait included
        self._failed: dict[int, Failure] = {}
        self._quarantined: dict[int, str] = {}
        self._proven: set[int] = set()  # versions that have answered or passed their rehearsal
        self._expires_at = math.inf  # when the next previous champion leaves memory
        self._extras: OrderedDict[int, tuple[PlanModel, PlanVersion]] = (
            OrderedDict()
        )  # asked for, not deployed
        self._requested: dict[int, tuple[PlanModel, PlanVersion]] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._watch, name="plan", daemon=True)

    def start(self) -> None:
        """Load the present plan but for versions that take long, then watch in a thread."""
        self.settle(SLOW_SECONDS)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def request(self, model: PlanModel, version: PlanVersion) -> None:
        """Ask for a version that is in the plan but not deployed; a later table will have it."""
        self._requested[version.id] = (model, version)
        self._wake.set()

    def settle(self, patience_seconds: float = math.inf) -> None:
        """Poll until no preparation waits or is younger than `patience_seconds`."""
        self.poll()
        while self._is_busy(patience_seconds):
            self._wait()
            self.poll()

    def _watch(self) -> None:
        while not self._stopping:
            self._wait()
            try:
                self.poll()
            except Exception:
                log.exception("the plan could not be applied")

    def _wait(self) -> None:
        self._wake.wait(LOOK_SECONDS)
        self._wake.clear()

    def poll(self) -> None:
        """Make a new table if the plan, the quarantine or what is loaded has changed, or something is due."""
        changed = self._read_plan() | self._read_quarantine() | self._collect() | self._take_requests()
        if changed or self._has_retry() or time.time() >= self._expires_at or self._table is None:
            self._prepare()
            self._begin()
            if self._table is not None or not self._is_busy(
                SLOW_SECONDS
            ):  # the first has all that loads quickly
                self._swap()
        else:
            self._begin()

    def _has_retry(self) -> bool:
        """Return whether a version that failed is to be tried again now."""
        now = time.monotonic()
        return any(
            failure.retry_at <= now and version_id not in self._preparing
            for version_id, failure in self._failed.items()
        )

    def _read_quarantine(self) -> bool:
        quarantine = quarantined(self._home)
        if quarantine == self._quarantined:
            return False
        self._quarantined = quarantine
        return True

    def _read_plan(self) -> bool:
        if not self._reader.has_changed():
            return False
        try:
            self._plan = self._reader.read()
        except PlanUnreadable:
            log.exception("the plan is unreadable; the one before stays in force")
            return False
        return True

    def _take_requests(self) -> bool:
        """Remember the versions that were asked for; False where all of them are on their way already."""
        requested, self._requested = self._requested, {}
        known = self._loaded.keys() | self._preparing.keys()
        for version_id, wanted in requested.items():
            self._extras[version_id] = wanted
            self._extras.move_to_end(version_id)
        return not requested.keys() <= known

    # Preparations

    def _prepare(self) -> None:
        """List what has to be brought into memory, or tried; drop what is quarantined."""
        for version_id in self._quarantined:
            self._loaded.pop(version_id, None)
            self._preparing.pop(version_id, None)
            self._failed.pop(version_id, None)
        wanted = [(model, version) for model in self._plan.models for version in _deployed(model)]
        for model, version in (*self._extras.values(), *wanted):
            if self._needs_preparation(model, version):
                self._preparing[version.id] = self._preparation(model, version)

    def _needs_preparation(self, model: PlanModel, version: PlanVersion) -> bool:
        if version.id in self._quarantined or version.id in self._preparing:
            return False
        failure = self._failed.get(version.id)
        if failure is not None:
            return failure.is_outdated(model, version) or failure.retry_at <= time.monotonic()
        present = self._loaded.get(version.id)
        if present is None or present.plan != version:
            return True
        is_to_answer = version.version in _answering(model) and version.id not in self._proven
        champion = self._champion_of(model)
        return (
            is_to_answer and champion is not None and champion is not present
        )  # a rollback is never refused

    def _preparation(self, model: PlanModel, version: PlanVersion) -> Preparation:
        present = self._loaded.get(version.id)
        return Preparation(
            self._home,
            model,
            version,
            present=present if present is not None and present.plan == version else None,
            champion=self._champion_of(model),
            answers=version.version in _answering(model),
            rules=self._rules,
            notify=self._wake.set,
        )

    def _champion_of(self, model: PlanModel) -> LoadedVersion | None:
        """Return the version that answers for a model now."""
        route = self._table.champion(model.id) if self._table is not None else None
        return route.version if route is not None else None

    def _begin(self) -> None:
        """Begin the preparations that wait, as many at once as may be; the slow ones do not count."""
        waiting = [one for one in self._preparing.values() if not one.has_begun]
        young = [
            one for one in self._preparing.values() if one.has_begun and one.age_seconds() < SLOW_SECONDS
        ]
        for preparation in waiting[: max(MAX_AT_ONCE - len(young), 0)]:
            preparation.start()

    def _is_busy(self, patience_seconds: float) -> bool:
        """Return whether a preparation waits, or is younger than that."""
        return any(
            not one.has_begun or one.age_seconds() < patience_seconds for one in self._preparing.values()
        )

    def _collect(self) -> bool:
        """Take over the preparations that have ended and give up those that do not; tell whether there were any."""
        under_way = [one for one in self._preparing.values() if one.has_begun]
        ended = [one for one in under_way if one.is_done or one.give_up_if_overdue()]
        for preparation in ended:
            del self._preparing[preparation.version.id]
            self._take_over(preparation)
        return bool(ended)

    def _take_over(self, preparation: Preparation) -> None:
        version_id = preparation.version.id
        if preparation.loaded is None:
            self._fail(preparation)
            return
        self._failed.pop(version_id, None)
        if self._loaded.get(version_id) is not preparation.loaded:
            self._loaded[version_id] = preparation.loaded
            self._proven.discard(version_id)
        if preparation.has_rehearsed:
            self._proven.add(version_id)

    def _fail(self, preparation: Preparation) -> None:
        model, version = preparation.model, preparation.version
        before = self._failed.get(version.id)
        pause = RETRY_SECONDS if before is None else min(before.pause * 2, MAX_RETRY_SECONDS)
        retry_at = time.monotonic() + pause if preparation.may_pass else math.inf
        reason = str(preparation.failure)
        self._failed[version.id] = Failure(reason, model, version, retry_at, pause)
        log.error(
            "a version cannot answer",
            extra={"model": model.name, "version": version.version, "reason": reason},
        )

    # The table

    def _protect(self) -> None:
        """Bring what the log keeps of each version's features to the plan."""
        for model in self._plan.models:
            privacy = Privacy(model.id, model.privacy, read_hash_key(self._home)) if model.privacy else None
            for version in model.versions:
                if (loaded := self._loaded.get(version.id)) is not None:
                    loaded.privacy = privacy
                    loaded.thumbnail_share = model.thumbnail_share

    def _swap(self) -> None:
        self._protect()
        reasons = {version_id: failure.reason for version_id, failure in self._failed.items()}
        table = RoutingTable(
            self._plan,
            dict(self._loaded),
            reasons | self._quarantined,
            self._table,
            preparing=frozenset(self._preparing),
            trusted_proxies=self._trusted_proxies,
        )
        self._table = table
        self._proven |= {route.version.plan.id for route in table.champions()}
        self._forget_unused(table)
        self._adopt(table)

    def _forget_unused(self, table: RoutingTable) -> None:
        """Drop versions that are neither deployed nor among the last ones asked for."""
        deployed = {version.id for model in self._plan.models for version in _deployed(model)}
        for route in table.champions():
            deployed |= _versions_of(route)
        for version_id in deployed & self._extras.keys():
            del self._extras[version_id]
        while len(self._extras) > MAX_EXTRA_VERSIONS:
            self._extras.popitem(last=False)
        keep = deployed | self._extras.keys()
        self._loaded = {key: version for key, version in self._loaded.items() if key in keep}
        self._failed = {key: failure for key, failure in self._failed.items() if key in keep}
        self._proven &= self._loaded.keys()
        now = time.time()
        ends = [model.previous_until for model in self._plan.models if model.previous_until > now]
        self._expires_at = min(ends, default=math.inf)


def _answering(model: PlanModel) -> list[str]:
    """Name the versions that are to answer requests."""
    canary = model.canary.version if model.canary is not None else None
    return [name for name in (model.champion, canary) if name is not None]


def _deployed(model: PlanModel) -> Iterator[PlanVersion]:
    """Yield the versions that are to be in memory: those that answer, the shadows, and the previous champion."""
    previous = model.previous if time.time() < model.previous_until else None
    for name in dict.fromkeys([*_answering(model), *model.shadows, previous]):
        version = model.find(name) if name is not None else None
        if version is not None:
            yield version


def _versions_of(route: Route) -> set[int]:
    """Return the ids of a route's version and of all that stand beside it."""
    beside = [*route.shadows, *([route.canary.route.version] if route.canary else [])]
    return {route.version.plan.id, *(version.plan.id for version in beside)}
