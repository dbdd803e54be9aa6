"""Runs the jobs that wait on disk: each serving process takes some, and takes over those of one that died."""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from inference.protocol.dialect import HttpBody, HttpDialect, InferRequest, Target
from inference.protocol.dialect_list import find_dialect
from inference.protocol.v2.parameters import format_time
from inference.serving.callers import UNKNOWN_CALLER
from inference.serving.engine.engine import Engine
from inference.serving.engine.inbound import Inbound, decode
from inference.serving.engine.lanes import LOWEST_PRIORITY
from inference.serving.job_limits import JobLimits
from inference.serving.jobs.store import Claim, Job, JobStore, project_of
from inference.serving.refusals import Refusal
from inference.serving.responses import Answer, Prediction, write_answer
from inference.serving.routing import Admission, Route, RoutingTable

LOOK_SECONDS = 0.5  # after which a process looks for jobs that others took, or left behind
THREADS = 4  # which wait for the disk most of the time
RETRY_SECONDS, MAX_RETRY_SECONDS = 1.0, 10.0  # for which a job waits that cannot be answered yet
log = logging.getLogger(__name__)


class Wait(Struct):
    """A job that waits until it is tried again; `pause` is how long it waits, and each time twice as long."""

    until: float
    pause: float
    reason: str


class JobRunner:
    """Runs jobs through the engine; belongs to its event loop."""

    def __init__(self, engine: Engine, store: JobStore, limits: JobLimits) -> None:
        self._running: Counter[int] = Counter()  # by project
        self._engine = engine
        self._store = store
        self._limits = limits
        self._threads = ThreadPoolExecutor(THREADS, "jobs")
        self._woken = asyncio.Event()
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._waits: dict[str, Wait] = {}  # by the names of jobs

    async def in_thread[*Given, Result](self, work: Callable[[*Given], Result], *given: *Given) -> Result:
        """Do what reaches the disk, or takes long, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *given))

    def wake(self) -> None:
        """Look for jobs now."""
        self._woken.set()

    async def run(self) -> None:
        """Take jobs and run them, until told to stop."""
        while not self._stopping:
            try:
                await self._take_some()
            except Exception:
                log.exception("jobs could not be taken")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), LOOK_SECONDS)
            self._woken.clear()

    def stop(self) -> None:
        """Take no more jobs."""
        self._stopping = True
        self.wake()

    async def finish(self) -> None:
        """Wait for those that are under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._threads.shutdown(wait=False)

    async def _take_some(self) -> None:
        now = time.monotonic()
        self._forget_waits(now - 2 * MAX_RETRY_SECONDS)
        if self._running.total() >= self._limits.at_once:
            return
        later = {name for name, wait in self._waits.items() if wait.until > now}
        claims, failed = await self.in_thread(self._claim_some, self._running.copy(), later)
        for name, reason in failed.items():
            self._let_wait(name, reason)
        for claim in claims:
            self._count(claim, 1)
            task = asyncio.get_running_loop().create_task(self._run(claim))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _forget_waits(self, before: float) -> None:
        """Forget jobs that were not tried again though they could be: others have ended them."""
        self._waits = {name: wait for name, wait in self._waits.items() if wait.until > before}

    def _claim_some(self, running: Counter[int], later: set[str]) -> tuple[list[Claim], dict[str, str]]:
        """Claim as many jobs as may run beside those that do, by projects in turn; say also why others failed."""
        claims: list[Claim] = []
        failed: dict[str, str] = {}
        names = [name for name in self._store.waiting() if name not in later]
        project_share = max(self._limits.at_once // 2, 1)
        for name in in_turns(names):
            if running.total() >= self._limits.at_once:
                break
            project_id = project_of(name)
            if running[project_id] >= project_share:
                continue
            try:
                claim = self._store.claim(name)
            except OSError as error:  # the claims made so far hold their locks: they have to be run
                if not failed:  # a full disk fails them all, at each look
                    log.error("a job could not be claimed", extra={"job": name, "error": str(error)})
                failed[name] = str(error)
                continue
            if claim is not None:
                running[project_id] += 1
                claims.append(claim)
        return claims, failed

    async def _run(self, claim: Claim) -> None:
        """Run a job, and keep its answer; let it wait again where it cannot be answered yet."""
        try:
            answer = await self._answer(claim)
            if isinstance(answer, Refusal):
                await self._put_back(claim, answer.sentence)
            else:
                await self._end(claim, answer)
        except Exception as error:  # such as a full disk; its deadline ends it in any case
            log.exception("a job could not be run", extra={"job": claim.job.id})
            await self._put_back(claim, str(error))
        finally:
            claim.release()
            self._count(claim, -1)
            self.wake()

    def _count(self, claim: Claim, change: int) -> None:
        self._running[claim.job.project_id] += change
        self._engine.metrics.jobs_running += change

    async def _put_back(self, claim: Claim, reason: str) -> None:
        self._let_wait(claim.job.name, reason, claim.job.deadline_at - time.time())
        await self.in_thread(claim.put_back)

    def _let_wait(self, name: str, reason: str, max_seconds: float = MAX_RETRY_SECONDS) -> None:
        """Make a job wait longer each time, and no longer than `max_seconds`: its deadline is not to be missed."""
        known = self._waits.get(name)
        pause = RETRY_SECONDS if known is None else min(2 * known.pause, MAX_RETRY_SECONDS)
        self._waits[name] = Wait(time.monotonic() + max(min(pause, max_seconds), 0.0), pause, reason)

    async def _end(self, claim: Claim, answer: Answer) -> None:
        self._waits.pop(claim.job.name, None)
        if await self.in_thread(claim.end, answer.status, answer.fields, answer.body):
            job, state = claim.job, "succeeded" if answer.status == 200 else "failed"
            self._engine.metrics.jobs_ended[job.model_id, job.version, state] += 1

    async def _answer(self, claim: Claim) -> Answer | Refusal:
        """Return the answer that the request would have had, or the reason why it has to wait for one."""
        job = claim.job
        dialect = find_dialect(job.path.encode())
        assert dialect is not None  # it was taken under this path
        if time.time() >= job.deadline_at:
            return write_answer(dialect, _late(job, self._waits.get(job.name)))
        if claim.starts > self._limits.max_starts:
            return write_answer(dialect, _gave_up(claim.starts - 1))
        admission = await self._engine.wait_for_route(partial(find_route, job))
        if isinstance(admission, Refusal):
            return admission if admission.may_pass else write_answer(dialect, admission)
        request = await self.in_thread(read_request, claim, dialect, admission.route)
        if isinstance(request, Refusal):
            return write_answer(dialect, self._engine.count_refusal(request, admission.route))
        if (reason := self._engine.check_room(admission.route, request)) is not None and reason.may_pass:
            return reason
        result = await self._ask(admission, request, dialect)
        if isinstance(result, Refusal) and result.may_pass:
            return result
        return self._bounded(dialect, write_answer(dialect, result))

    async def _ask(
        self, admission: Admission, request: InferRequest, dialect: HttpDialect
    ) -> Prediction[HttpBody] | Refusal:
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._engine.enqueue(admission, request, dialect, answered.set_result, time.perf_counter_ns())
        return await answered

    def _bounded(self, dialect: HttpDialect, answer: Answer) -> Answer:
        size, max_bytes = len(answer.body), self._limits.max_answer_bytes
        if size <= max_bytes:
            return answer
        sentence = (
            f"The answer has {size} bytes and a job keeps at most {max_bytes}; send fewer rows at a time."
        )
        return write_answer(dialect, Refusal(413, sentence))


def in_turns(names: Iterable[str]) -> list[str]:
    """Order jobs so that projects take turns; those of one project stay in their order."""
    seen: Counter[int] = Counter()
    ranked: list[tuple[int, str]] = []
    for name in names:
        project_id = project_of(name)
        ranked.append((seen[project_id], name))
        seen[project_id] += 1
    return [name for _, name in sorted(ranked, key=lambda pair: pair[0])]


def find_route(job: Job, table: RoutingTable) -> Admission | Refusal:
    """Find the route to the version that took the job, whatever its role is by now; may raise NotLoaded."""
    champion = table.champion(job.model_id)
    canary = champion.canary.route if champion is not None and champion.canary is not None else None
    if job.role == "canary" and canary is not None and canary.version.plan.version == job.version:
        return Admission(canary, may_backfill=True)
    route = table.find_route(job.project_id, Target(job.model, job.version))
    return route if isinstance(route, Refusal) else Admission(route, may_backfill=True)


def read_request(claim: Claim, dialect: HttpDialect, route: Route) -> InferRequest | Refusal:
    """Read a job's request again, with what was settled when it was accepted: its id, its time and its deadline."""
    job = claim.job
    headers = {name.encode(): value.encode("latin-1") for name, value in job.headers.items()}
    request = decode(route, Inbound(dialect, UNKNOWN_CALLER, job.path.encode(), claim.body, headers))
    if isinstance(request, Refusal):
        return request
    facts = request.facts
    request.facts = msgspec.structs.replace(
        facts,
        key=job.prediction_id,
        event_times_us=facts.event_times_us or [round(job.accepted_at * 1e6)] * request.rows,
        timeout_us=max(round((job.deadline_at - time.time()) * 1e6), 1),
        priority=facts.priority or LOWEST_PRIORITY,
    )
    return request


def _late(job: Job, wait: Wait | None) -> Refusal:
    deadline = format_time(round(job.deadline_at * 1e6))
    why = "" if wait is None else f" (the last time: {wait.reason.rstrip('.')})"
    return Refusal(
        504, f"The job was not run by {deadline}{why}; allow more with 'timeout', or send it again."
    )


def _gave_up(starts: int) -> Refusal:
    return Refusal(
        500,
        f"The job was begun {starts} times and its process ended each time; see whether its values can be answered.",
    )
