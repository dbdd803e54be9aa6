"""What callers get while the engine has more to do than it can: a real engine, models that are slow, no server."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from inference.prediction_log.spool.record import LoggedBatch
from inference.prediction_log.spool.segments import open_spools
from inference.protocol.dialect import InferRequest
from inference.protocol.v2.open_inference import OPEN_INFERENCE
from inference.protocol.v2.parameters import NO_FACTS
from inference.runtime.session import Array
from inference.serving.body_budget import BodyBudget
from inference.serving.callers import InferenceCaller
from inference.serving.engine.engine import Engine
from inference.serving.engine.inbound import Inbound
from inference.serving.engine.lanes import LEVEL_NS, MAX_BATCH_ROWS, Lane, Pending
from inference.serving.options import EngineOptions
from inference.serving.plan import Plan, PlanModel
from inference.serving.refusals import Refusal
from inference.serving.responses import Prediction
from inference.serving.routing import Admission, RoutingTable
from inference.serving.versions.cost_model import RunCost
from inference.serving.versions.versions import LoadedVersion, Outcome
from tests.inference.onnx_models import (
    classifier_signature,
    constant_classifier,
    failing_model,
    looping_model,
    store,
    summing_model,
    summing_signature,
)
from tests.inference.serving.given import GIVEN
from tests.inference.serving.running import rows_body, token

pytestmark = pytest.mark.e2e

SLOW = 8  # matrix products: some tens of milliseconds a run
ENDLESS = -1.0  # the value at which the looping model counts to ten billion, and the failing one fails


class World:
    """An engine with models that are quick, slow, or endless or failing for some rows, in two projects alike."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.order: list[str] = []

    def admit(self, bearer: str, model: str) -> tuple[Admission, InferenceCaller, bytes]:
        caller, path = InferenceCaller(f"Bearer {bearer}".encode()), f"/v2/models/{model}/infer".encode()
        admission = self.engine.admit(OPEN_INFERENCE, caller, path)
        assert isinstance(admission, Admission)
        return admission, caller, path

    def ask(
        self, bearer: str, model: str, values: Sequence[float], name: str = "", **facts: Any
    ) -> "asyncio.Future[Prediction[list[Array]] | Refusal]":
        """Ask for one row a value, three times the value each."""
        admission, caller, path = self.admit(bearer, model)
        rows = np.repeat(np.array(values, "<f4"), 3).tobytes()
        request = InferRequest(len(values), [rows], None, [0], msgspec.structs.replace(NO_FACTS, **facts))
        answered = self._future(name)
        inbound = Inbound(GIVEN, caller, path, request, {})
        self.engine.submit(admission, inbound, answered.set_result)
        return answered

    def post(self, bearer: str, model: str, body: bytes, name: str = "") -> "asyncio.Future[Any]":
        """Ask with a body that is still to be read."""
        admission, caller, path = self.admit(bearer, model)
        answered = self._future(name)
        inbound = Inbound(OPEN_INFERENCE, caller, path, body, {})
        self.engine.submit(admission, inbound, answered.set_result)
        return answered

    def _future(self, name: str) -> "asyncio.Future[Any]":
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        answered.add_done_callback(lambda _: self.order.append(name))
        return answered


def in_world[Result](home: Path, use: Callable[[World], Awaitable[Result]], **options: Any) -> Result:
    """Run an engine until `use` is done."""
    models, loaded = [], {}
    sums = summing_signature(3)
    for project_id in (1, 2):
        for place, (name, content, signature) in enumerate(
            [
                ("sums", summing_model(3), sums),
                ("slow", constant_classifier(0.75, 3, SLOW), classifier_signature(3)),
                ("looping", looping_model(3), sums),
                ("failing", failing_model(3), sums),
            ]
        ):
            id = project_id * 10 + place
            version = store(home, content, signature, id=id, version="1")
            models.append(PlanModel(id, project_id, name, 1, "1", [], [version]))
            loaded[id] = LoadedVersion(home, models[-1], version)
    tokens = [token("dl_ours", "infer"), token("dl_their", "infer", project_id=2)]

    async def run() -> Result:
        engine = Engine(home, EngineOptions(fsync="off", **options), lambda *_: None)
        engine.adopt(RoutingTable(Plan(1, models, tokens), loaded, {}))
        try:
            return await asyncio.wait_for(use(World(engine)), 60)
        finally:
            while not engine.is_idle():
                await asyncio.sleep(0.01)
            engine.close()

    return asyncio.run(run())


class TestFairness:
    def test_answers_a_neighbour_while_a_large_request_is_under_way(self, tmp_path: Path) -> None:
        async def use(world: World) -> list[str]:
            large = world.ask("dl_ours", "slow", [1] * (18 * MAX_BATCH_ROWS), "large")
            for number in range(3):
                await world.ask("dl_their", "sums", [number], f"quick {number}")
                await world.ask("dl_their", "slow", [number], f"slow {number}")
            await large
            return world.order

        order = in_world(tmp_path, use)

        assert order[-1] == "large"
        assert len(order) == 7

    def test_answers_a_project_s_own_small_requests_in_between(self, tmp_path: Path) -> None:
        async def use(world: World) -> list[str]:
            large = world.ask("dl_ours", "slow", [1] * (6 * MAX_BATCH_ROWS), "large")
            await world.ask("dl_ours", "slow", [1], "small")
            await large
            return world.order

        assert in_world(tmp_path, use, threads=2) == ["small", "large"]

    def test_answers_a_large_request_row_by_row_as_a_small_one(self, tmp_path: Path) -> None:
        values = np.random.default_rng(7).normal(size=3_000).astype("<f4")

        async def use(world: World) -> Any:
            return await world.ask("dl_ours", "sums", values.tolist())

        prediction = in_world(tmp_path, use)

        np.testing.assert_allclose(prediction.content[0].ravel(), values * 3, rtol=1e-5)

    def test_reads_a_long_body_in_a_thread_and_refuses_what_it_says_wrong(self, tmp_path: Path) -> None:
        rows = [[1.0, 2.0, 3.0]] * 5_000

        async def use(world: World) -> tuple[Any, Any]:
            right, wrong = rows_body(*rows), rows_body(*rows, name="Z")
            return await world.post("dl_ours", "sums", right), await world.post("dl_ours", "sums", wrong)

        answer, refusal = in_world(tmp_path, use)

        [output] = msgspec.json.decode(answer.content.content)["outputs"]
        assert (output["shape"], set(output["data"])) == ([5_000, 1], {6.0})
        assert (refusal.status, "no input 'Z'" in refusal.sentence) == (400, True)


class TestDeadline:
    def test_that_passes_in_the_queue_is_answered_and_the_neighbours_are_run(self, tmp_path: Path) -> None:
        async def use(world: World) -> list[Any]:
            held = [world.ask("dl_ours", "slow", [0])]  # holds the only thread
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            held += [world.ask("dl_ours", "slow", [0], timeout_us=timeout) for timeout in (1, None, 1)]
            return await asyncio.gather(*held)

        answers = in_world(tmp_path, use, threads=1)

        assert [isinstance(answer, Prediction) for answer in answers] == [True, False, True, False]
        assert {answer.status for answer in answers if isinstance(answer, Refusal)} == {504}
        assert [answer.content[0].tolist() for answer in answers if isinstance(answer, Prediction)] == [
            [1]
        ] * 2

    def test_of_one_does_not_end_the_run_of_another(self, tmp_path: Path) -> None:
        async def use(world: World) -> list[Any]:
            asked = [world.ask("dl_ours", "slow", [0], timeout_us=5_000), world.ask("dl_ours", "slow", [0])]
            return await asyncio.gather(*asked)

        late, answered = in_world(tmp_path, use)

        assert isinstance(late, Refusal)
        assert late.status == 504
        assert answered.content[0].tolist() == [1]
        assert logged_ids(tmp_path) == [answered.prediction_id]

    def test_of_all_ends_the_run_and_frees_its_thread(self, tmp_path: Path) -> None:
        async def use(world: World) -> tuple[Any, Any]:
            late = await world.ask("dl_ours", "looping", [ENDLESS], timeout_us=400_000)
            return late, await world.ask("dl_ours", "slow", [0])

        late, after = in_world(tmp_path, use, threads=1)

        assert (late.status, "within the time that 'timeout' allows" in late.sentence) == (504, True)
        assert after.content[0].tolist() == [1]

    def test_is_set_for_every_run(self, tmp_path: Path) -> None:
        async def use(world: World) -> list[Any]:
            asked = [world.ask("dl_ours", "looping", [ENDLESS] * rows) for rows in (1, 300)]
            return [*await asyncio.gather(*asked), await world.ask("dl_ours", "slow", [0])]

        one, large, after = in_world(tmp_path, use, threads=2, max_run_seconds=0.3)

        assert (one.status, large.status) == (504, 504)
        assert "The model took longer than 0.3 s" in one.sentence
        assert after.content[0].tolist() == [1]

    def test_comes_for_a_run_that_was_thought_quick_and_does_not_end(self, tmp_path: Path) -> None:
        """It began on the event loop, which nothing but another thread can free."""

        async def use(world: World) -> list[Any]:
            asked = [world.ask("dl_ours", "looping", [value]) for value in (1, ENDLESS, 2)]
            return await asyncio.gather(*asked)

        one, endless, two = in_world(tmp_path, use, max_run_seconds=0.5)

        assert [one.content[0].tolist(), two.content[0].tolist()] == [[[3]], [[6]]]
        assert endless.status == 504


def logged_ids(home: Path) -> list[str]:
    records = [record for reader in open_spools(home) for record in reader.read(0, 0, 1 << 30)[0]]
    return [row for record in records if isinstance(record, LoggedBatch) for row in record.ids]


class TestPriority:
    def lane(self) -> Lane:
        return Lane(None, keyed=False)  # type: ignore[arg-type]  # its order is no matter of its route

    def pending(self, name: str, received_ns: int, priority: int = 0) -> Pending:
        facts = msgspec.structs.replace(NO_FACTS, key=name, priority=priority)
        return Pending(
            InferRequest(1, [b""], None, [0], facts), name, lambda *_: None, lambda _: None, received_ns
        )

    def order(self, *pendings: Pending) -> list[str]:
        lane = self.lane()
        for pending in pendings:
            lane.put(pending)
        taken = []
        while batch := lane.take_batch(2):
            taken += [pending.prediction_id for pending in batch]
        return taken

    def test_goes_before_arrival(self) -> None:
        order = self.order(
            self.pending("usual", 0),
            self.pending("may wait", 1, 9),
            self.pending("urgent", 2, 1),
            self.pending("next", 3),
        )

        assert order == ["urgent", "usual", "next", "may wait"]

    def test_starves_nobody(self) -> None:
        old = self.pending("old", 0, 9)
        fresh = self.pending("fresh", 9 * LEVEL_NS, 1)

        assert self.order(old, fresh) == ["old", "fresh"]


class TestFailure:
    @pytest.mark.parametrize("seconds", [1e-6, 0.01])
    def test_of_one_request_does_not_fail_its_neighbours(self, tmp_path: Path, seconds: float) -> None:
        """On the event loop, where runs are quick, and in a thread."""

        async def use(world: World) -> list[Any]:
            admission, _, _ = world.admit("dl_ours", "failing")
            admission.route.version.cost = RunCost(seconds, 0.0)
            asked = [world.ask("dl_ours", "failing", [value]) for value in (1, ENDLESS, 2)]
            return await asyncio.gather(*asked)

        one, failed, two = in_world(tmp_path, use)

        assert [one.content[0].tolist(), two.content[0].tolist()] == [[[3]], [[6]]]
        assert (failed.status, "cannot answer these values" in failed.sentence) == (400, True)

    def test_for_want_of_memory_that_others_hold_may_be_tried_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def use(world: World) -> Any:
            return await world.ask("dl_ours", "sums", [1])

        def run(*_: object) -> Outcome:
            raise RuntimeError("Available memory of 4096 is smaller than requested bytes of 8192")

        monkeypatch.setattr(LoadedVersion, "run", run)

        refused = in_world(tmp_path, use)

        assert (refused.status, "ask again, or send fewer rows" in refused.sentence) == (503, True)
        assert b"retry-after: 1\r\n" in refused.fields

    def test_of_a_piece_leaves_nothing_of_the_request_in_the_log(self, tmp_path: Path) -> None:
        async def use(world: World) -> Any:
            return await world.ask("dl_ours", "failing", [1] * 2_000 + [ENDLESS])

        failed = in_world(tmp_path, use)

        assert failed.status == 400
        assert logged_ids(tmp_path) == []


class TestOverload:
    def test_refuses_a_project_that_waits_for_itself_with_429(self, tmp_path: Path) -> None:
        async def use(world: World) -> tuple[list[Any], Any]:
            asked = [world.ask("dl_ours", "slow", [0] * 300) for _ in range(100)]
            their = await world.ask("dl_their", "slow", [0])
            return await asyncio.gather(*asked), their

        ours, their = in_world(tmp_path, use, threads=2, max_wait_seconds=0.5)

        refusals = [answer for answer in ours if isinstance(answer, Refusal)]
        assert {refusal.status for refusal in refusals} == {429}
        assert b"retry-after: " in refusals[0].fields
        assert len(ours) > len(refusals) > 0
        assert their.content[0].tolist() == [1]

    def test_refuses_with_503_who_waits_for_others(self, tmp_path: Path) -> None:
        async def use(world: World) -> list[Any]:
            ours = [world.ask("dl_ours", "slow", [0] * 300) for _ in range(2)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            world.admit("dl_their", "slow")[0].route.version.cost = RunCost(0.02, 0.0)
            their = [world.ask("dl_their", "slow", [0] * 300) for _ in range(50)]
            return (await asyncio.gather(*ours, *their))[2:]

        their = in_world(tmp_path, use, threads=1, max_wait_seconds=0.5)

        assert 503 in {answer.status for answer in their if isinstance(answer, Refusal)}

    def test_keeps_quick_requests_of_a_project_whose_slow_ones_are_refused(self, tmp_path: Path) -> None:
        async def use(world: World) -> tuple[Any, list[Any]]:
            slow = [world.ask("dl_ours", "slow", [0] * 300) for _ in range(100)]
            return await world.ask("dl_ours", "sums", [1]), await asyncio.gather(*slow)

        quick, slow = in_world(tmp_path, use, threads=2, max_wait_seconds=0.2)

        assert quick.content[0].tolist() == [[3]]
        assert 429 in {answer.status for answer in slow if isinstance(answer, Refusal)}


class TestBodyBudget:
    def test_lets_no_project_take_more_than_half(self) -> None:
        budget = BodyBudget(100_000)
        ours, more, their = budget.hold(1), budget.hold(1), budget.hold(2)

        assert ours.take(40_000) is None
        refusal = more.take(20_000)
        assert refusal is not None
        assert refusal.status == 429
        assert their.take(40_000) is None
        refusal = budget.hold(3).take(30_000)
        assert refusal is not None
        assert refusal.status == 503
        ours.release()
        ours.release()
        assert more.take(40_000) is None

    def test_ends_empty(self) -> None:
        budget = BodyBudget(100_000)
        hold = budget.hold(1)
        for size in (10, 20_000, 90_000):
            hold.take(size)

        assert budget.bytes == 0
