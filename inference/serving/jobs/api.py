"""Takes jobs in, tells of them, and forgets them: the three things that callers ask."""

import asyncio
import contextlib
import logging
import re
import time
from collections import Counter
from functools import partial

from msgspec import Struct

from driftline.base.accounts.access.scopes import Scope
from driftline.base.ids import new_id
from inference.protocol.dialect import Headers, HttpBody, InferRequest
from inference.protocol.header_facts import FACT_HEADERS
from inference.protocol.preferences import Preferences, read_preferences
from inference.protocol.v2.parameters import format_time
from inference.serving.callers import InferenceCaller
from inference.serving.descriptions.metadata import json_answer
from inference.serving.engine.engine import Engine
from inference.serving.engine.inbound import Inbound, admit, decode
from inference.serving.job_limits import JobLimits
from inference.serving.jobs.runner import JobRunner
from inference.serving.jobs.store import Job, JobStore, OpenJob, StoredAnswer, count_open
from inference.serving.plan import PlanToken
from inference.serving.refusals import Refusal, overloaded, too_many
from inference.serving.responses import Answer
from inference.serving.routing import Admission, Route, check_times, reason_over_budget

JOBS_PATH = "/v2/jobs/"
CALLBACK_HEADER = b"driftline-callback"
KEPT_HEADERS = (b"inference-header-content-length", *FACT_HEADERS)  # without which a request is another
MAX_WAIT_SECONDS = 60
FIRST_LOOK_SECONDS, MAX_LOOK_SECONDS = 0.01, 0.2  # between looks of a caller who waits
RETRY_FULL_SECONDS = 10.0
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
log = logging.getLogger(__name__)
_NOT_FOR_ONE_MODEL = Refusal(
    403, "The token of a device makes no jobs; leave out 'Prefer: respond-async', and wait for the answer."
)


class ResponsePreference(Struct, frozen=True):
    """How a caller wants to be answered."""

    preferences: Preferences
    callback: str | None

    @classmethod
    def read(cls, headers: Headers) -> "ResponsePreference":
        """Read it from the headers of a request."""
        callback = headers.get(CALLBACK_HEADER)
        name = None if callback is None else callback.decode("utf-8", "replace").strip()
        return cls(read_preferences(headers.get(b"prefer", b"")), name)


class Accepted(Struct):
    """A job that was kept, with the route that took it."""

    job: Job
    route: Route


class JobApi:
    """Answers what callers ask of jobs; belongs to the event loop of the engine."""

    def __init__(self, engine: Engine, store: JobStore, runner: JobRunner, limits: JobLimits) -> None:
        self.bytes: Counter[int] = Counter()  # of the jobs of each project, as last measured
        self._engine = engine
        self._store = store
        self._runner = runner
        self._limits = limits
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End the wait of everybody."""
        self._closing.set()

    # Taking in

    async def accept(
        self,
        preference: ResponsePreference,
        admission: Admission | Refusal | None,
        inbound: Inbound[bytes, HttpBody],
    ) -> Accepted | Refusal:
        """Keep a request as a job, once all is judged that can be; the answer follows later."""
        if admission is None:
            admission = await self._engine.wait_for_route(partial(admit, inbound))
        if isinstance(admission, Refusal):
            return self._engine.count_refusal(admission)
        self._engine.metrics.token_uses.add(admission.token)
        if admission.tags is not None:
            return self._engine.count_refusal(_NOT_FOR_ONE_MODEL, admission.route)
        job = await self._examine(preference, admission, inbound)
        if isinstance(job, Refusal):
            return self._engine.count_refusal(job, admission.route)
        try:
            await self._runner.in_thread(self._store.add, job, inbound.body)
        except OSError as error:
            log.error("a job cannot be kept", extra={"error": str(error)})
            reason = overloaded("The disk cannot keep the job; ask again.", admission.route.fields)
            return self._engine.count_refusal(reason, admission.route)
        self.bytes[job.project_id] += len(inbound.body)
        self._runner.wake()
        return Accepted(job, admission.route)

    async def _examine(
        self, preference: ResponsePreference, admission: Admission, inbound: Inbound[bytes, HttpBody]
    ) -> Job | Refusal:
        project_id = admission.route.model.project_id
        reason = reason_over_budget(admission) or self._check_callback(project_id, preference.callback)
        if reason is None:
            is_open = await self._runner.in_thread(count_open, self._engine.home)
            reason = self._reason_for_no_room(project_id, is_open)
        if reason is not None:
            return reason
        request = await self._runner.in_thread(decode, admission.route, inbound)
        if isinstance(request, Refusal):
            return request
        if admission.budget is not None:
            admission.budget.charge_rows(request.rows)
        return check_times(admission, request) or self._describe(
            preference, admission.route, inbound, request
        )

    def _check_callback(self, project_id: int, name: str | None) -> Refusal | None:
        known = self._engine.table.callbacks_of(project_id)
        if name is None or name in known:
            return None
        there = f"there are {', '.join(known)}" if known else "there is none yet"
        return Refusal(
            400,
            f"Driftline-Callback is '{name[:100]}', and this project has no callback of that name: {there}. "
            "Make one with POST /api/v1/channels and kind 'callback'.",
        )

    def _reason_for_no_room(self, project_id: int, is_open: Counter[int]) -> Refusal | None:
        """Refuse what there is no room for: 429 where the project itself takes its share, half of all."""
        limits = self._limits
        if not limits.max_open:
            return Refusal(
                501, "This host keeps no jobs, as another could not answer for them: ask the main server."
            )
        if 2 * is_open[project_id] >= limits.max_open:
            return too_many(
                f"{is_open[project_id]} jobs of this project have not ended; wait for their answers first.",
                retry_s=RETRY_FULL_SECONDS,
            )
        if 2 * self.bytes[project_id] >= limits.max_bytes:
            return too_many(
                f"The jobs of this project and their answers take {self.bytes[project_id]} bytes; "
                "fetch answers and DELETE their jobs first.",
                retry_s=RETRY_FULL_SECONDS,
            )
        if is_open.total() >= limits.max_open or self.bytes.total() >= limits.max_bytes:
            return overloaded("There is no room for more jobs here; ask again.", retry_s=RETRY_FULL_SECONDS)
        return None

    def _describe(
        self,
        preference: ResponsePreference,
        admitted: Route,
        inbound: Inbound[bytes, HttpBody],
        request: InferRequest,
    ) -> Job:
        now, job_id = time.time(), new_id()
        prediction_id = request.facts.key or job_id
        route = admitted.answering(request, prediction_id)
        seconds = self._limits.deadline_seconds
        if request.facts.timeout_us is not None:
            seconds = min(seconds, request.facts.timeout_us / 1e6)
        return Job(
            id=job_id,
            project_id=route.model.project_id,
            model_id=route.model.id,
            model=route.model.name,
            version=route.version.plan.version,
            role=route.role,
            prediction_id=prediction_id,
            accepted_at=now,
            deadline_at=now + seconds,
            path=inbound.path.decode(),
            headers={
                name.decode(): inbound.headers[name].decode("latin-1")
                for name in KEPT_HEADERS
                if name in inbound.headers
            },
            callback=self._engine.table.callbacks_of(route.model.project_id).get(preference.callback or ""),
        )

    async def answer_within(self, preference: ResponsePreference, accepted: Accepted) -> Answer:
        """Answer with the job, or with its answer where that comes within the time that the caller would wait."""
        job = accepted.job
        wait = min(preference.preferences.wait_seconds or 0, MAX_WAIT_SECONDS)
        entry = await self._wait(job, wait) if wait else OpenJob(job, "queued")
        applied = b"preference-applied: respond-async%b\r\n" % (b", wait=%d" % wait if wait else b"")
        if isinstance(entry, StoredAnswer):
            where = f"content-location: {JOBS_PATH}{job.id}\r\n".encode()
            answer = _stored(entry)
        else:
            where = f"location: {JOBS_PATH}{job.id}\r\n".encode() + accepted.route.fields
            answer = _pending(entry or OpenJob(job, "queued"))
        answer.fields += where + applied
        return answer

    async def _wait(self, job: Job, seconds: int) -> OpenJob | StoredAnswer | None:
        """Look for a job's answer, which another process may write, until so many seconds have passed."""
        until, pause = time.monotonic() + seconds, FIRST_LOOK_SECONDS
        while True:
            entry = await self._runner.in_thread(self._store.find, job.project_id, job.id)
            remaining = until - time.monotonic()
            if not isinstance(entry, OpenJob) or remaining <= 0 or self._closing.is_set():
                return entry
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), min(pause, remaining))
            pause = min(pause * 2, MAX_LOOK_SECONDS)

    # Telling and forgetting

    async def answer(self, method: str, path: str, caller: InferenceCaller) -> Answer | Refusal:
        """Answer a request for a job: GET tells its state, then gives its answer; DELETE cancels or forgets it."""
        token = self._engine.table.authenticate(caller, Scope.INFER)
        if isinstance(token, Refusal):
            return token
        job_id = path.removeprefix(JOBS_PATH)
        if method not in ("GET", "HEAD", "DELETE"):
            return Refusal(
                405, f"{method[:16]} is not offered here; use GET or DELETE.", b"allow: GET, DELETE\r\n"
            )
        act = self._forget if method == "DELETE" else self._show
        try:
            answer = await act(token, job_id) if _ID.fullmatch(job_id) else None
        except OSError as error:
            log.error("a job cannot be read", extra={"job": job_id[:64], "error": str(error)})
            return overloaded("The disk cannot give the job; ask again.")
        return answer or Refusal(
            404, f"There is no job '{job_id[:64]}' in this project; it may have expired."
        )

    async def _show(self, token: PlanToken, job_id: str) -> Answer | None:
        entry = await self._runner.in_thread(self._store.find, token.project_id, job_id)
        if isinstance(entry, StoredAnswer):
            return _stored(entry)
        return None if entry is None else _pending(entry)

    async def _forget(self, token: PlanToken, job_id: str) -> Answer | None:
        deleted = await self._runner.in_thread(self._store.delete, token.project_id, job_id)
        if deleted is None:
            return None
        if isinstance(deleted, Job):
            self._engine.metrics.jobs_ended[deleted.model_id, deleted.version, "cancelled"] += 1
        return json_answer({"id": job_id, "state": "cancelled" if isinstance(deleted, Job) else "deleted"})


def _pending(open_job: OpenJob) -> Answer:
    """Return how far a job is, and when to ask again."""
    job = open_job.job
    answer = json_answer(
        {
            "id": job.id,
            "state": open_job.state,
            "url": JOBS_PATH + job.id,
            "model_name": job.model,
            "model_version": job.version,
            "prediction_id": job.prediction_id,
            "accepted_at": _rfc3339(job.accepted_at),
            "deadline_at": _rfc3339(job.deadline_at),
            "callback": job.callback and job.callback.name,
        },
        202,
    )
    answer.fields += (
        f"retry-after: 1\r\ndriftline-job-state: {open_job.state}\r\ndriftline-prediction-id: ".encode()
        + job.prediction_id.encode()
        + b"\r\n"
    )
    return answer


def _stored(stored: StoredAnswer) -> Answer:
    """Return an answer as a synchronous request would have had it."""
    state = f"driftline-job-state: {stored.ended.state}\r\n"
    return Answer(stored.ended.status, stored.body, (stored.ended.fields + state).encode("latin-1"))


def _rfc3339(moment: float) -> str:
    return format_time(round(moment * 1e6))
