"""The client for asyncio, in step with the other one."""

import asyncio
import inspect

import pytest

import driftline_client
from driftline_client import Counts, DriftlineError, ModelHandle, aio
from tests.driftline_client.flights import FLIGHTS, TOLD
from tests.driftline_client.platform import HASTY
from tests.driftline_client.server import Answer, Recorder, running_server
from tests.driftline_client.v2_bodies import ONE_ROW, TWO_ROWS


@pytest.fixture
def flights(server: Recorder) -> aio.AsyncModelHandle:
    return aio.model("flights", server.url, "dl_test", "7", delivery=HASTY)


class TestAsyncModelHandle:
    async def test_logs_and_labels_without_waiting(
        self, server: Recorder, flights: aio.AsyncModelHandle
    ) -> None:
        async with flights:
            key = flights.log(features={"delay": 4.5}, prediction="late")
            flights.label(key, "on time")
            assert await flights.flush(10)

        assert [item["id"] for item in server.items("predictions")] == [key]
        assert server.items("labels") == [{"id": key, "label": "on time"}]
        assert flights.counts() == Counts(sent=2)

    @pytest.mark.slow
    async def test_asks_for_many_answers_at_once(
        self, server: Recorder, flights: aio.AsyncModelHandle
    ) -> None:
        server.answers = [Answer(200, TWO_ROWS)] * 20

        async with flights:
            answers = await asyncio.gather(
                *[flights.predict([[1, 2, 3], [4, 5, 6]], id=f"order {n}") for n in range(20)]
            )

        assert {tuple(answer.outputs["label"]) for answer in answers} == {("late", "on time")}
        assert {body["parameters"]["driftline_id"] for _, _, body in server.requests} == {
            f"order {n}" for n in range(20)
        }

    async def test_raises_what_the_server_says(self, server: Recorder, flights: aio.AsyncModelHandle) -> None:
        server.answers = [Answer(400, {"error": "Input 'X' has rows of unequal length."})]

        async with flights:
            with pytest.raises(DriftlineError, match="unequal length") as caught:
                await flights.predict([1, 2, 3])

        assert caught.value.status == 400

    async def test_says_that_nobody_answers(self) -> None:
        with running_server() as gone:
            pass

        async with aio.model("flights", gone.url, "dl_test") as flights:
            with pytest.raises(DriftlineError, match="does not answer"):
                await flights.predict([1])

    async def test_logs_a_frame_while_the_loop_goes_on(
        self, server: Recorder, flights: aio.AsyncModelHandle
    ) -> None:
        server.answers = [Answer(200, {"accepted": 3, "results": [{"status": "accepted"}] * 3})]

        async with flights:
            result = await flights.log_frame(FLIGHTS, **TOLD)

        assert result.accepted == 3

    def test_serves_one_event_loop_after_another(
        self, server: Recorder, flights: aio.AsyncModelHandle
    ) -> None:
        server.answers = [Answer(200, ONE_ROW)] * 2

        async def ask() -> list[str]:
            answer = await flights.predict([1, 2, 3])
            await flights.flush()
            return answer.outputs["label"]

        async def ask_and_close() -> list[str]:
            async with flights:
                return await ask()

        with asyncio.Runner() as first, asyncio.Runner() as second:
            assert first.run(ask()) == ["late"]
            assert second.run(ask_and_close()) == ["late"]
            first.run(flights.close())

    def test_has_every_method_that_its_twin_has(self, flights: aio.AsyncModelHandle) -> None:
        methods = [name for name, _ in inspect.getmembers(ModelHandle, inspect.isfunction) if name[0] != "_"]

        assert [name for name in methods if not callable(getattr(flights, name, None))] == []
        assert inspect.signature(aio.model).parameters == inspect.signature(driftline_client.model).parameters
