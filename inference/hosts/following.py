"""The process on a host that keeps its home in step with the main server, and says there how the host does."""

import logging
import threading
import time
from pathlib import Path

import msgspec
from django.conf import settings

from inference.hosts.file_downloads import FileDownloads
from inference.hosts.host_files import (
    deployed_digests,
    instance_of,
    missing_files,
    remove_unused,
    servable_part,
    write_keys,
)
from inference.hosts.main_server import MainServer, MainServerFailed
from inference.hosts.statuses import HostStatus
from inference.prediction_log.spool.segments import spool_ends
from inference.serving.plan import PLAN_FILE, Plan, PlanUnreadable, load_plan, publish_plan
from inference.serving.status.host_status import ProcessStatus, all_counts, process_status
from inference.serving.status.status import STATUS_SECONDS, counts_to_send, local_reports

PULL_SECONDS = 0.3
LOOK_SECONDS = 5.0  # between two looks for files that are missing, where nothing changed
TIDY_SECONDS = 3600.0
WAITS_FOR_FILE = "its model file has not arrived yet"
log = logging.getLogger(__name__)


class PlanFollower:
    """Follows the plan of the main server in a home of this machine."""

    def __init__(self, home: Path, server: MainServer) -> None:
        self._home, self._server = home, server
        self._downloads = FileDownloads(home, server)
        self._served = self._load()
        self._wanted: Plan | None = None  # as pulled, with models that wait for their files
        self._waiting: set[int] = set()
        self._looked_at = float("-inf")
        self._pull_failure = ""
        self._status_failure = ""
        self._logged = ""

    def _load(self) -> Plan | None:
        try:
            return load_plan(self._home / PLAN_FILE)
        except PlanUnreadable:
            return None

    @property
    def has_plan(self) -> bool:
        """Whether this home has a plan, of now or of an earlier run."""
        return self._served is not None

    @property
    def awaits_first_files(self) -> bool:
        """Whether files of deployed versions are on their way that neither arrived nor failed yet."""
        if self._wanted is None:
            return False
        return not self._downloads.has_tried(deployed_digests(self._wanted))

    @property
    def failure(self) -> str:
        """Why this host does not have all of the plan, or cannot say how it does; empty where neither is wrong."""
        return self._plan_failure or self._status_failure

    @property
    def _plan_failure(self) -> str:
        return self._pull_failure or self._downloads.failure

    def follow(self) -> None:
        """Pull once: keys and tokens hold at once, and each model once its files are here."""
        try:
            if (pulled := self._server.pull()) is not None:
                if pulled.encrypts_log != settings.ENCRYPT_LOG:
                    raise MainServerFailed(
                        f"DRIFTLINE_ENCRYPT_LOG is {int(pulled.encrypts_log)} on the main server; set it so here."
                    )
                write_keys(self._home, pulled.keys)
                self._wanted = pulled.plan
            if pulled is not None or self._downloads.take_arrived() or self._is_late():
                self._publish()
            self._pull_failure = ""
        except (MainServerFailed, OSError) as error:
            self._server.forget()  # what was pulled may not be on the disk
            self._pull_failure = str(error)
        if self.failure != self._logged:
            self._logged = self.failure
            log.warning(self.failure or "this host has all of the plan again")

    def _is_late(self) -> bool:
        """Return whether it is time to look for missing files again, as those that failed are tried again."""
        return bool(self._downloads.failure) and time.monotonic() - self._looked_at > LOOK_SECONDS

    def _publish(self) -> None:
        """Serve what can be served with the files that are here, and have the others downloaded."""
        if self._wanted is None:
            return
        self._looked_at = time.monotonic()
        missing = missing_files(self._home, self._wanted)
        served, self._waiting = servable_part(self._wanted, self._served, missing)
        if served != self._served:
            publish_plan(served, self._home / PLAN_FILE)
            self._served = served
        self._downloads.want(missing)

    def status(self) -> HostStatus:
        """Describe how this host does; a model that waits for its file is stale in every process."""
        return HostStatus(
            instance=instance_of(self._home),
            generation=self._served.generation if self._served else 0,
            failure=self._plan_failure[:300],
            spool_ends=spool_ends(self._home),
            processes=[self._described(process_status(report)) for report in local_reports(self._home)],
            counts=all_counts(counts_to_send(self._home)),
        )

    def _described(self, process: ProcessStatus) -> ProcessStatus:
        waiting = {str(model_id): WAITS_FOR_FILE for model_id in self._waiting}
        return msgspec.structs.replace(process, stale_models=process.stale_models | waiting)

    def send_status(self) -> None:
        """Send the main server how this host does."""
        try:
            self._server.send_status(msgspec.json.encode(self.status()))
            self._status_failure = ""
        except MainServerFailed as error:
            self._status_failure = str(error)

    def tidy(self) -> None:
        """Remove what is served no more."""
        remove_unused(self._home, [plan for plan in (self._served, self._wanted) if plan is not None])


def follow_until(follower: PlanFollower, stop: threading.Event) -> None:
    """Follow until `stop` is set, then send the status once more: nobody waits for processes that have ended."""
    status_at = tidied_at = float("-inf")
    while not stop.wait(PULL_SECONDS):
        follower.follow()
        if time.monotonic() - status_at >= STATUS_SECONDS:
            status_at = time.monotonic()
            follower.send_status()
        if time.monotonic() - tidied_at >= TIDY_SECONDS:
            tidied_at = time.monotonic()
            follower.tidy()
    follower.send_status()
