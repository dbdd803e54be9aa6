"""The sender: every request is accepted in the end, whatever the server does in between."""

from collections import Counter
from itertools import count

import pytest

from driftline.demo.wire import RequestRefused, RequestSender
from tests.driftline.demo.conftest import Received, Reply, ScriptedServer

BODIES = [f"flight {number}".encode() for number in range(300)]


@pytest.fixture
def sender(server: ScriptedServer):  # type: ignore[no-untyped-def]
    made = RequestSender("127.0.0.1", server.port, "/v2/models/m/infer", "dl_token", connections=4)
    yield made
    made.close()


def bodies_of(server: ScriptedServer) -> Counter[bytes]:
    return Counter(request.body for request in server.received)


class TestSend:
    @pytest.mark.slow
    def test_sends_each_body_once_with_the_token(self, server: ScriptedServer, sender: RequestSender) -> None:
        sender.send(BODIES)

        assert bodies_of(server) == Counter(BODIES)
        assert {request.headers["authorization"] for request in server.received} == {"Bearer dl_token"}
        assert {(request.method, request.path) for request in server.received} == {
            ("POST", "/v2/models/m/infer")
        }

    @pytest.mark.slow
    def test_connections_that_the_server_closes_lose_nothing(
        self, server: ScriptedServer, sender: RequestSender
    ) -> None:
        numbers = count(1)
        server.script = lambda request: Reply(
            headers={"Connection": "close"} if next(numbers) % 25 == 0 else {}
        )

        sender.send(BODIES)

        assert set(bodies_of(server)) == set(BODIES)

    @pytest.mark.slow
    def test_requests_without_an_answer_are_sent_again(
        self, server: ScriptedServer, sender: RequestSender
    ) -> None:
        numbers = count(1)
        server.script = lambda request: Reply(hang_up=next(numbers) == 10)

        sender.send(BODIES)

        times_sent = bodies_of(server)
        assert set(times_sent) == set(BODIES)
        assert max(times_sent.values()) == 2

    @pytest.mark.slow
    @pytest.mark.parametrize("status", [429, 503])
    def test_a_busy_answer_is_asked_again_after_its_pause(
        self, server: ScriptedServer, sender: RequestSender, status: int
    ) -> None:
        refused = set[bytes]()

        def busy_once(request: Received) -> Reply:
            if len(refused) < 20 and request.body not in refused:
                refused.add(request.body)
                return Reply(status, headers={"Retry-After": "0"})
            return Reply()

        server.script = busy_once
        sender.send(BODIES)

        times_sent = bodies_of(server)
        assert {body for body, times in times_sent.items() if times == 2} == refused
        assert set(times_sent) == set(BODIES)

    def test_a_refusal_stops_with_what_the_server_said(
        self, server: ScriptedServer, sender: RequestSender
    ) -> None:
        server.script = lambda request: Reply(404, {"error": "no model of that name"})

        with pytest.raises(RequestRefused, match=r"404.*no model of that name"):
            sender.send(BODIES)

    @pytest.mark.slow
    def test_waits_for_a_server_that_is_away(self, server: ScriptedServer) -> None:
        away = RequestSender("127.0.0.1", server.port, "/v2", "t", connections=1)
        numbers = count()
        server.script = lambda request: Reply(hang_up=next(numbers) < 2)

        away.send([b"a flight"])
        away.close()

        assert len(server.received) == 3
