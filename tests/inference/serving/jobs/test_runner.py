"""Jobs are run once in effect, whatever happens to the process, the plan and the room there is."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from driftline.base.outbound.rules import OutboundRules
from inference.prediction_log.spool.record import LoggedBatch
from inference.prediction_log.spool.segments import open_spools
from inference.protocol.preferences import Preferences
from inference.protocol.v2.open_inference import OPEN_INFERENCE
from inference.serving.callers import InferenceCaller
from inference.serving.engine.engine import Engine
from inference.serving.engine.inbound import Inbound
from inference.serving.job_limits import JobLimits
from inference.serving.jobs import runner
from inference.serving.jobs.api import ResponsePreference
from inference.serving.jobs.service import Jobs
from inference.serving.jobs.store import Claim, JobStore, StoredAnswer
from inference.serving.options import EngineOptions
from inference.serving.plan import Plan, PlanCanary, PlanModel, PlanVersion
from inference.serving.refusals import Refusal
from inference.serving.responses import Answer
from inference.serving.routing import RoutingTable
from inference.serving.versions.versions import LoadedVersion
from inference.signatures import EndpointSpec
from tests.inference.onnx_models import classifier_signature, constant_classifier, store, summing_signature
from tests.inference.serving.running import rows_body, token
from tests.upstream import response, running_upstream

COINS = b"/v2/models/coins/infer"
BEARER = InferenceCaller(b"Bearer dl_infer")
LATER = ResponsePreference(Preferences(respond_async=True), None)


class House:
    """An engine with its jobs, whose plan the test changes; jobs run once `jobs.start` is called."""

    def __init__(self, home: Path, limits: JobLimits) -> None:
        heads = store(home, constant_classifier(0.25, 3), classifier_signature(3), id=1, version="1")
        tails = store(home, constant_classifier(0.75, 3), classifier_signature(3), id=2, version="2")
        self.home = home
        self.model = PlanModel(1, 1, "coins", 5, "1", [], [heads, tails])
        self._loaded = {plan.id: LoadedVersion(home, self.model, plan) for plan in (heads, tails)}
        self.asked_to_load: list[str] = []
        self.engine = Engine(
            home,
            EngineOptions(fsync="off", jobs=limits),
            lambda _, version: self.asked_to_load.append(version.version),
        )
        self.jobs = Jobs(self.engine, limits)
        self.store = JobStore(home, sync=False, keep_seconds=limits.keep_seconds)
        self.deploy()

    def deploy(self, *, loaded: tuple[int, ...] = (1, 2), **changes: Any) -> None:
        model = msgspec.structs.replace(self.model, **changes)
        other = msgspec.structs.replace(model, id=2, project_id=2)
        tokens = [token("dl_infer", "infer"), token("dl_theirs", "infer", project_id=2)]
        plan = Plan(1, [model, other], tokens)
        self.engine.adopt(RoutingTable(plan, {key: self._loaded[key] for key in loaded}, {}))

    def deploy_endpoint(self, url: str) -> None:
        """Let another server answer, with the sum of a row."""
        endpoint = EndpointSpec(protocol="v2", url=url, model="sums")
        plan = PlanVersion(3, "3", "", "", summing_signature(3), endpoint=endpoint)
        rules = OutboundRules(["127.0.0.1/32"])
        self._loaded[3] = LoadedVersion(self.home, self.model, plan, rules=rules)
        self.deploy(loaded=(1, 2, 3), champion="3", versions=[*self.model.versions, plan])

    async def accept(
        self,
        body: bytes = rows_body([1, 2, 3]),
        bearer: InferenceCaller = BEARER,
        preference: ResponsePreference = LATER,
    ) -> Answer | Refusal:
        inbound = Inbound(OPEN_INFERENCE, bearer, COINS, body, {})
        admission = self.engine.admit(OPEN_INFERENCE, bearer, COINS)
        accepted = await self.jobs.api.accept(preference, admission, inbound)
        if isinstance(accepted, Refusal):
            return accepted
        return await self.jobs.api.answer_within(preference, accepted)

    async def accept_job(self, body: bytes = rows_body([1, 2, 3])) -> dict[str, Any]:
        answer = await self.accept(body)
        assert isinstance(answer, Answer)
        assert answer.status == 202
        job: dict[str, Any] = json.loads(answer.body)
        return job

    async def answer_of(self, job: dict[str, Any]) -> StoredAnswer:
        while not isinstance(found := self.store.find(1, job["id"]), StoredAnswer):
            assert found is not None
            await asyncio.sleep(0.01)
        return found

    def logged(self) -> list[LoggedBatch]:
        records = [record for spool in open_spools(self.home) for record in spool.read(0, 0, 1 << 30)[0]]
        return [record for record in records if isinstance(record, LoggedBatch)]


type Story = Callable[[House], Awaitable[None]]
type Tell = Callable[..., None]


@pytest.fixture
def tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tell:
    """Run a story in a house of its own, where nobody waits long."""
    monkeypatch.setattr(runner, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(runner, "RETRY_SECONDS", 0.01)

    def run(story: Story, **limits: Any) -> None:
        async def live() -> None:
            house = House(tmp_path, JobLimits(**limits))
            try:
                await asyncio.wait_for(story(house), 20)
                await house.jobs.finish()
            finally:
                house.engine.close()

        asyncio.run(live())

    return run


def class_of(answer: StoredAnswer) -> int:
    return json.loads(answer.body)["outputs"][0]["data"][0]


class TestTheVersion:
    def test_that_took_a_job_answers_it_though_another_is_champion_by_then(self, tell: Tell) -> None:
        async def story(house: House) -> None:
            job = await house.accept_job()
            house.deploy(champion="2")
            house.jobs.start()

            answer = await house.answer_of(job)

            assert (job["model_version"], class_of(answer)) == ("1", 0)
            assert [record.role for record in house.logged()] == ["direct"]

        tell(story)

    def test_is_loaded_again_where_it_left_the_memory(self, tell: Tell) -> None:
        async def story(house: House) -> None:
            job = await house.accept_job()
            house.deploy(champion="2", loaded=(2,))
            house.jobs.start()
            while not house.asked_to_load:
                await asyncio.sleep(0.01)
            house.deploy(champion="2")

            assert class_of(await house.answer_of(job)) == 0
            assert house.asked_to_load == ["1"]

        tell(story)

    def test_may_be_the_canary_and_is_logged_as_such(self, tell: Tell) -> None:
        async def story(house: House) -> None:
            house.deploy(canary=PlanCanary("2", 1.0, "subject"))
            job = await house.accept_job()
            house.jobs.start()

            assert class_of(await house.answer_of(job)) == 1
            assert job["model_version"] == "2"
            assert [record.role for record in house.logged()] == ["canary"]

        tell(story)

    def test_that_was_deleted_meanwhile_fails_the_job(self, tell: Tell) -> None:
        async def story(house: House) -> None:
            job = await house.accept_job()
            house.deploy(champion="2", versions=house.model.versions[1:])
            house.jobs.start()

            answer = await house.answer_of(job)

            assert answer.ended.status == 404
            assert b"no servable version '1'" in answer.body

        tell(story)


class TestRoom:
    def test_is_half_of_all_for_one_project(self, tell: Tell) -> None:
        async def story(house: House) -> None:
            for _ in range(2):
                await house.accept_job()

            full, theirs = (
                await house.accept(),
                await house.accept(bearer=InferenceCaller(b"Bearer dl_theirs")),
            )
            assert isinstance(full, Refusal)
            assert (full.status, full.fields) == (429, b"retry-after: 10\r\n")
            assert "2 jobs of this project have not ended" in full.sentence
            assert isinstance(theirs, Answer)
            assert theirs.status == 202
            house.jobs.start()
            while house.store.waiting():
                await asyncio.sleep(0.01)
            await house.accept_job()

        tell(story, max_open=4)

    def test_is_bounded_for_all_together(self, tell: Tell) -> None:
        async def story(house: House) -> None:
            await house.accept_job()
            await house.accept_job()
            assert isinstance(await house.accept(bearer=InferenceCaller(b"Bearer dl_theirs")), Answer)
            house.jobs.api.bytes[3] = 1 << 40

            full = await house.accept(bearer=InferenceCaller(b"Bearer dl_theirs"))

            assert isinstance(full, Refusal)
            assert (full.status, full.fields) == (503, b"retry-after: 10\r\n")

        tell(story)

    def test_is_measured_in_bytes_too(self, tell: Tell) -> None:
        async def story(house: House) -> None:
            await house.accept_job(rows_body(*[[1.5, 2.5, 3.5]] * 200))

            full = await house.accept()

            assert isinstance(full, Refusal)
            assert full.status == 429
            assert "fetch answers and DELETE their jobs first" in full.sentence

        tell(story, max_bytes=5000)

    def test_that_the_engine_lacks_makes_a_job_wait_and_counts_no_fault(self, tell: Tell) -> None:
        async def story(house: House) -> None:
            job = await house.accept_job()
            house.engine.spools.measure(1 << 50)
            house.jobs.start()
            while not house.jobs._runner._waits:
                await asyncio.sleep(0.01)
            assert json.loads((await house.jobs.api.answer("GET", job["url"], BEARER)).body)[  # type: ignore[union-attr]
                "state"
            ] in ("queued", "running")
            house.engine.spools.measure(0)

            assert class_of(await house.answer_of(job)) == 0
            assert house.engine.metrics.unlogged == 0
            assert house.engine.metrics.refusals == {}

        tell(story)


SUM = b'{"outputs":[{"name":"sum","datatype":"FP32","shape":[1,1],"data":[6]}]}'


class TestAnotherServer:
    @pytest.mark.parametrize("status", [502, 503, 504])
    def test_that_does_not_answer_yet_is_asked_again(self, tell: Tell, status: int) -> None:
        failures = [response(b"", status)] * 4

        async def story(house: House) -> None:
            with running_upstream(lambda _: failures.pop() if failures else response(SUM)) as upstream:
                house.deploy_endpoint(upstream.url)
                job = await house.accept_job()
                house.jobs.start()

                answer = await house.answer_of(job)

            assert (answer.ended.status, len(upstream.asked)) == (200, 5)
            assert [record.ids for record in house.logged()] == [[job["prediction_id"]]]

        tell(story)

    def test_that_never_answers_is_named_at_the_deadline(
        self, tell: Tell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def story(house: House) -> None:
            with running_upstream(lambda _: response(b"", 503)) as upstream:
                house.deploy_endpoint(upstream.url)
                job = await house.accept_job()
                house.jobs.start()
                runner = house.jobs._runner
                while (
                    not runner._waits or runner._running.total()
                ):  # it has failed, and is not tried just now
                    await asyncio.sleep(0.01)
                now = time.time()
                monkeypatch.setattr(time, "time", lambda: now + 3600)

                answer = await house.answer_of(job)

            assert answer.ended.status == 504
            assert b"(the last time: The model's server" in answer.body

        tell(story)

    def test_that_fails_on_the_values_ends_the_job(self, tell: Tell) -> None:
        async def story(house: House) -> None:
            with running_upstream(lambda _: response(b'{"error": "boom"}', 500)) as upstream:
                house.deploy_endpoint(upstream.url)
                job = await house.accept_job()
                house.jobs.start()

                answer = await house.answer_of(job)

            assert (answer.ended.status, len(upstream.asked)) == (502, 1)
            assert b"answered 500: boom" in answer.body

        tell(story)


class TestTheEnd:
    def test_comes_with_the_deadline(self, tell: Tell) -> None:
        async def story(house: House) -> None:
            job = await house.accept_job(rows_body([1, 2, 3], parameters={"timeout": 1}))
            house.jobs.start()

            answer = await house.answer_of(job)

            assert (answer.ended.status, answer.ended.state) == (504, "failed")
            assert f"was not run by {job['deadline_at']}".encode() in answer.body
            assert house.logged() == []

        tell(story)

    def test_comes_for_a_job_that_ends_its_processes(self, tell: Tell) -> None:
        async def story(house: House) -> None:
            job = await house.accept_job()
            for _ in range(3):
                dying = house.store.claim(f"1-{job['id']}")
                assert dying is not None
                dying.release()  # as the kernel does for a process that dies
            house.jobs.start()

            answer = await house.answer_of(job)

            assert answer.ended.status == 500
            assert b"begun 3 times and its process ended each time" in answer.body

        tell(story)

    def test_that_could_not_be_kept_is_reached_again_under_the_same_id(
        self, tell: Tell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keep, failures = Claim.end, [OSError("the disk is full")]

        def end(claim: Claim, *answer: Any) -> bool:
            if failures:
                raise failures.pop()
            return keep(claim, *answer)

        async def story(house: House) -> None:
            job = await house.accept_job()
            monkeypatch.setattr(Claim, "end", end)
            house.jobs.start()
            await house.answer_of(job)

            assert [record.ids for record in house.logged()] == [[job["prediction_id"]]] * 2
            assert len({tuple(record.event_time_us) for record in house.logged()}) == 1

        tell(story)

    def test_bounds_the_answer_that_is_kept(self, tell: Tell) -> None:
        async def story(house: House) -> None:
            job = await house.accept_job()
            house.jobs.start()

            answer = await house.answer_of(job)

            assert answer.ended.status == 413

        tell(story, max_answer_bytes=10)

    def test_is_counted_by_state(self, tell: Tell) -> None:
        async def story(house: House) -> None:
            cancelled = await house.accept_job()
            deleted = await house.jobs.api.answer("DELETE", cancelled["url"], BEARER)
            late = await house.accept_job(rows_body([1, 2, 3], parameters={"timeout": 1}))
            good = await house.accept_job()
            house.jobs.start()
            await house.answer_of(late)
            await house.answer_of(good)
            await house.jobs.finish()

            assert isinstance(deleted, Answer)
            assert json.loads(deleted.body)["state"] == "cancelled"
            assert house.engine.metrics.snapshot()["jobs_ended"] == {
                "1/cancelled/1": 1,
                "1/failed/1": 1,
                "1/succeeded/1": 1,
            }
            assert len(house.logged()) == 1

        tell(story)


class TestAJobThatCannotBeClaimed:
    def test_keeps_no_other_from_its_answer_and_is_tried_again(
        self, tell: Tell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        take, failed = JobStore.claim, Counter[str]()

        async def story(house: House) -> None:
            before, faulty, behind = [await house.accept_job() for _ in range(3)]

            def claim(store: JobStore, name: str) -> Claim | None:
                if name.endswith(faulty["id"]) and failed[name] < 3:
                    failed[name] += 1
                    raise OSError("No space left on device")
                return take(store, name)

            monkeypatch.setattr(JobStore, "claim", claim)
            house.jobs.start()

            for job in (before, behind, faulty):
                assert class_of(await house.answer_of(job)) == 0
            assert failed.total() == 3

        tell(story)


class TestTheTime:
    def test_of_an_event_may_have_grown_old_while_the_job_waited(
        self, tell: Tell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def story(house: House) -> None:
            job = await house.accept_job()
            now = time.time()
            monkeypatch.setattr(time, "time", lambda: now + 1800)
            house.jobs.start()

            assert class_of(await house.answer_of(job)) == 0
            [record] = house.logged()
            assert abs(record.event_time_us[0] / 1e6 - now) < 10

        tell(story)


def test_a_process_that_drains_leaves_what_it_has_not_begun(tell: Tell) -> None:
    async def story(house: House) -> None:
        house.jobs.start()
        house.jobs.drain()
        waiting = ResponsePreference(Preferences(respond_async=True, wait_seconds=30), None)

        answer = await house.accept(preference=waiting)

        assert isinstance(answer, Answer)
        assert answer.status == 202
        assert len(house.store.waiting()) == 1

    tell(story)
