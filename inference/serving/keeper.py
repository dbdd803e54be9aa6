"""Keeps the routing table in step with the plan file, loading versions in a thread beside the old ones."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from inference.runtime.session import ModelRefused
from inference.serving.plan import PLAN_FILE, Plan, PlanModel, PlanUnreadable, PlanVersion, load_plan
from inference.serving.routing import RoutingTable
from inference.serving.versions import LoadedVersion

LOOK_SECONDS = 0.2
RETRY_SECONDS = 5.0
MAX_EXTRA_VERSIONS = 16
log = logging.getLogger(__name__)


class PlanKeeper:
    """Watches DRIFTLINE_HOME/plan.json and makes a new table whenever it, or what is loaded, changes."""

    def __init__(self, home: Path, adopt: Callable[[RoutingTable], object]) -> None:
        """Make a keeper; `adopt` is called from its thread with each new table."""
        self._home = home
        self._path = home / PLAN_FILE
        self._adopt = adopt
        self._seen: tuple[int, int, int] | None = None
        self._plan = Plan(0, [], [])
        self._table: RoutingTable | None = None
        self._loaded: dict[int, LoadedVersion] = {}
        self._failed: dict[int, str] = {}
        self._failed_at = 0.0
        self._extras: OrderedDict[int, None] = OrderedDict()  # previous champions and versions asked for
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
        """Make a new table if the plan has changed, a version was asked for, or a failure is due for a retry."""
        changed = self._read_plan()
        wanted, self._wanted = self._wanted, {}
        retry = bool(self._failed) and time.monotonic() - self._failed_at > RETRY_SECONDS
        if not (changed or wanted or retry or self._table is None):
            return
        if changed or retry:
            self._failed = {}
        for model, version in wanted.values():
            self._remember_extra(version.id)
            self._load(model, version)
        for model in self._plan.models:
            self._load_deployed(model)
        self._swap()

    def _read_plan(self) -> bool:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return False
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen == self._seen:
            return False
        try:
            self._plan = load_plan(self._path)
        except PlanUnreadable:
            log.exception("the plan is unreadable; the one before stays in force")
            return False
        finally:
            self._seen = seen
        return True

    def _load_deployed(self, model: PlanModel) -> None:
        for name in (model.champion, *model.shadows):
            version = model.find(name) if name is not None else None
            if version is not None:
                self._load(model, version)

    def _load(self, model: PlanModel, version: PlanVersion) -> None:
        present = self._loaded.get(version.id)
        if version.id in self._failed or (present is not None and present.plan == version):
            return
        try:
            self._loaded[version.id] = LoadedVersion(self._home, model, version)
        except (ModelRefused, ValueError) as error:
            self._failed[version.id] = str(error)
            self._failed_at = time.monotonic()
            log.error(
                "a version cannot be loaded",
                extra={"model": model.name, "version": version.version, "reason": str(error)},
            )

    def _swap(self) -> None:
        previous = self._table
        table = RoutingTable(self._plan, dict(self._loaded), dict(self._failed), previous)
        self._table = table
        if previous is not None:
            for route in previous.champions():
                self._remember_extra(route.version.plan.id)  # a rollback then needs no load
        self._forget_unused(table)
        self._adopt(table)

    def _remember_extra(self, version_id: int) -> None:
        self._extras[version_id] = None
        self._extras.move_to_end(version_id)

    def _forget_unused(self, table: RoutingTable) -> None:
        """Let go of versions that are neither deployed nor among the last ones used."""
        deployed = {route.version.plan.id for route in table.champions()}
        deployed |= {shadow.plan.id for route in table.champions() for shadow in route.shadows}
        for version_id in deployed & self._extras.keys():
            del self._extras[version_id]
        while len(self._extras) > MAX_EXTRA_VERSIONS:
            self._extras.popitem(last=False)
        keep = deployed | self._extras.keys()
        self._loaded = {
            version_id: version for version_id, version in self._loaded.items() if version_id in keep
        }
