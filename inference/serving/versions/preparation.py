"""A version on its way into memory: loaded, warmed and tried in a thread of its own, which has a hard end."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from driftline.base.outbound.rules import OutboundRules
from inference.runtime.session import MAX_RUN_SECONDS, ModelRefused
from inference.serving.crashes import MARKS, blame
from inference.serving.plan import PlanModel, PlanVersion
from inference.serving.versions.rehearsal import rehearse, warm_up
from inference.serving.versions.versions import LoadedVersion

LOAD_SECONDS = 30.0
LOAD_BYTES_PER_SECOND = 4 << 20  # a large file has more time
GRACE_SECONDS = 5.0  # beyond the time limit of a run, which holds between two nodes only
log = logging.getLogger(__name__)


class Preparation:
    """Brings one version into memory. A kernel that never ends costs a thread, and nobody else's turn."""

    def __init__(
        self,
        home: Path,
        model: PlanModel,
        version: PlanVersion,
        *,
        present: LoadedVersion | None,
        champion: LoadedVersion | None,
        answers: bool,
        rules: OutboundRules,
        notify: Callable[[], object],
    ) -> None:
        """Describe what is to be done; `present` is the version where it is in memory already.

        A version that `answers` requests must pass a rehearsal on what the champion was lately asked. `notify` is
        called from the thread when it ends.
        """
        self.model = model
        self.version = version
        self.loaded: LoadedVersion | None = None
        self.failure: str | None = None
        self.may_pass = False  # the failure: the same attempt may succeed later
        self.has_rehearsed = False
        self.is_done = False
        self._home = home
        self._present = present
        self._champion = champion
        self._answers = answers
        self._rules = rules
        self._notify = notify
        self._began_at = 0.0
        self._ends_at = 0.0
        self._thread = threading.Thread(target=self._run, name=f"prepare-{version.id}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._began_at = time.monotonic()
        self._allow(LOAD_SECONDS + self._file_bytes() / LOAD_BYTES_PER_SECOND)
        self._thread.start()

    @property
    def has_begun(self) -> bool:
        """Return whether it is under way, or done."""
        return self._began_at > 0

    def age_seconds(self) -> float:
        """Return for how long it has been under way."""
        return time.monotonic() - self._began_at

    def give_up_if_overdue(self) -> bool:
        """Abandon the thread where a step took too long, and blame the version that it runs.

        Where that runs in a process of its own, this one need not end to be rid of it.
        """
        if self.is_done or time.monotonic() <= self._ends_at:
            return False
        running = MARKS.running_in(self._thread.ident or 0)
        if running:
            blame(self._home, running, "did not end a run", time.time())
            MARKS.ask_for_successor()
        self.failure = f"Version {self.version.version} could not be made ready: a run does not end."
        return True

    def _file_bytes(self) -> int:
        try:
            return (self._home / self.version.path).stat().st_size
        except OSError:
            return 0  # the attempt to load it will say so

    def _allow(self, seconds: float) -> None:
        """Set how long the next step may take."""
        self._ends_at = time.monotonic() + seconds

    def _run(self) -> None:
        try:
            loaded = self._present or self._load()
            self._try(loaded)
            self.loaded = loaded
        except ModelRefused as error:
            self.failure = str(error)
        except Exception as error:
            log.exception("a version could not be made ready")
            self.failure = f"{type(error).__name__}: {error}"
        self.is_done = True
        self._notify()

    def _load(self) -> LoadedVersion:
        champion, same_inputs = self._champion, False
        if champion is not None:
            same_inputs = champion.plan.signature.inputs == self.version.signature.inputs
        example = champion.recent.one_row() if champion is not None and same_inputs else None
        self.may_pass = True  # such as a file that comes back
        try:
            loaded = LoadedVersion(self._home, self.model, self.version, example, self._rules)
        except ValueError as error:
            raise ModelRefused(str(error)) from error
        self.may_pass = False
        return loaded

    def _try(self, loaded: LoadedVersion) -> None:
        """Run what the champion was lately asked: a version that answers must pass, any other is warm then."""
        if self._champion is None or self._champion is loaded:
            return
        use = rehearse if self._answers else warm_up
        use(loaded, self._champion, lambda: self._allow(MAX_RUN_SECONDS + GRACE_SECONDS))
        self.has_rehearsed = self._answers
