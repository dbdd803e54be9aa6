"""/healthz and /readyz answer however busy or stuck everything else is."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from driftline.api.front import probes
from driftline.api.front.body_cap import Message, Receive, Scope, Send
from driftline.api.front.health import judge
from driftline.api.front.probes import NO_ANSWER, Check, Checks, Readiness, answer_probes

GOOD: Checks = {"database": "ok", "workers": "ok"}


class Looks:
    """Checks that are counted, and closed at the end."""

    def __init__(self) -> None:
        self.count = 0
        self.made: list[Check] = []

    def check(self, look: Callable[[], Checks], *names: str) -> Check:
        def counted() -> Checks:
            self.count += 1
            return look()

        self.made.append(Check(counted, names or ("database", "workers")))
        return self.made[-1]


@pytest.fixture
def looks() -> Iterator[Looks]:
    made = Looks()
    yield made
    for check in made.made:
        check.close()


async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


async def ask(readiness: Readiness, path: str, method: str = "GET") -> tuple[int, bytes]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    scope: Scope = {"type": "http", "path": path, "method": method, "headers": []}
    await answer_probes(elsewhere, readiness)(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


class TestReadyz:
    def test_is_looked_up_once_for_many_who_ask_at_once(self, looks: Looks) -> None:
        readiness = Readiness([looks.check(lambda: GOOD)], judge)

        async def crowd() -> list[tuple[int, bytes]]:
            return await asyncio.gather(*(ask(readiness, "/readyz") for _ in range(160)))

        answers = asyncio.run(crowd())

        assert {status for status, _ in answers} == {200}
        assert looks.count == 1

    def test_is_looked_up_again_when_a_second_has_passed(self, looks: Looks) -> None:
        moment = 0.0
        readiness = Readiness([looks.check(lambda: GOOD)], judge, lambda: moment)

        async def twice() -> None:
            nonlocal moment
            await ask(readiness, "/readyz")
            moment = 0.9
            await ask(readiness, "/readyz")
            assert looks.count == 1
            moment = 1.0
            await ask(readiness, "/readyz")

        asyncio.run(twice())

        assert looks.count == 2

    def test_names_what_does_not_answer_and_looks_no_second_time_beside(
        self, looks: Looks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(probes, "PATIENCE_SECONDS", 0.01)
        thaw, moment = threading.Event(), 0.0

        def stand_still() -> Checks:
            thaw.wait(60)
            return GOOD

        broker = looks.check(lambda: {"broker": "ok"}, "broker")
        readiness = Readiness([looks.check(stand_still), broker], judge, lambda: moment)

        async def twice() -> list[Any]:
            nonlocal moment
            first = await ask(readiness, "/readyz")
            moment = 2.0
            return [first, await ask(readiness, "/readyz")]

        answers = asyncio.run(twice())
        thaw.set()

        assert [status for status, _ in answers] == [503, 503]
        assert orjson.loads(answers[0][1])["checks"]["database"] == NO_ANSWER
        assert looks.count <= 3  # the frozen one once

    def test_answers_a_head_request_without_a_body(self, looks: Looks) -> None:
        readiness = Readiness([looks.check(lambda: GOOD)], judge)

        assert asyncio.run(ask(readiness, "/readyz", "HEAD")) == (200, b"")


class TestHealthz:
    def test_looks_at_nothing(self, looks: Looks) -> None:
        readiness = Readiness([looks.check(lambda: GOOD)], judge)

        status, body = asyncio.run(ask(readiness, "/healthz"))

        assert (status, orjson.loads(body), looks.count) == (200, {"status": "ok"}, 0)


@pytest.mark.parametrize(("path", "method"), [("/readyz", "POST"), ("/models", "GET")])
def test_everything_else_is_the_applications(looks: Looks, path: str, method: str) -> None:
    readiness = Readiness([looks.check(lambda: GOOD)], judge)

    assert asyncio.run(ask(readiness, path, method))[0] == 299
