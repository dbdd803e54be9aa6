"""Rows go to the server in batches; only what Driftline itself refuses is deleted."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from driftline_agent.errors import NotReached, ServerRefused
from driftline_agent.rows.row_store import JUMP, RowStore
from driftline_agent.rows.sender import BATCH_ROWS, Sender
from driftline_agent.server.uplink import Uplink
from tests.driftline_agent.device import IDENTITY, YEAR_2026_MS
from tests.driftline_agent.set_clock import SetClock

HOUR_MS = 3_600_000
GOOD, INFINITE = b'{"prediction":1.0}', b'{"prediction":Infinity}'


@dataclass
class PlayedNetwork:
    """What answers the rows that are sent."""

    sender: Sender
    rows: RowStore
    clock: SetClock
    answer: Callable[[list[str]], httpx.Response] = field(
        default=lambda ids: results(["accepted"] * len(ids))
    )
    batches: list[list[str]] = field(default_factory=list)
    times: list[str] = field(default_factory=list)

    def handle(self, request: httpx.Request) -> httpx.Response:
        sent = json.loads(request.content)["predictions"]
        ids = [row["id"] for row in sent]
        self.times += [row["timestamp"] for row in sent]
        self.batches.append(ids)
        return self.answer(ids)

    def waiting(self) -> list[int]:
        found = self.rows.oldest(rows=1_000, max_bytes=1 << 30, earliest_ms=0)
        return [row.sequence for row in found]


def results(statuses: list[str]) -> httpx.Response:
    return httpx.Response(200, json={"results": [{"status": status} for status in statuses]})


def problem(status: int) -> httpx.Response:
    headers = {"Content-Type": "application/problem+json"}
    return httpx.Response(status, headers=headers, content=b'{"detail": "it is wrong"}')


@pytest.fixture
def network(tmp_path: Path) -> Iterator[PlayedNetwork]:
    clock = SetClock()
    clock.hear(YEAR_2026_MS)
    rows = RowStore(tmp_path / "rows.db", max_bytes=1 << 20, clock=clock, first_sequence=1)
    uplink = Uplink(IDENTITY.url, IDENTITY.token, clock, IDENTITY.public_key)
    uplink.close()
    network = PlayedNetwork(Sender(IDENTITY, rows, uplink), rows, clock)
    uplink._client = httpx.Client(base_url=IDENTITY.url, transport=httpx.MockTransport(network.handle))
    yield network
    uplink.close()
    rows.close()


def test_a_row_of_before_the_first_contact_has_the_servers_time_also_where_it_was_tried_before(
    network: PlayedNetwork,
) -> None:
    network.clock.forget()
    network.clock.wall = 0  # the device has no battery for its clock
    network.rows.append([GOOD])
    network.clock.running += HOUR_MS
    network.sender.send_batch()

    network.clock.hear(YEAR_2026_MS + 2 * HOUR_MS)
    network.sender.send_batch()

    assert network.times == ["2026-01-01T01:00:00.000000Z"]


class TestARowThatIsNoJson:
    def test_is_counted_as_dropped_and_keeps_no_other_row_back(self, network: PlayedNetwork) -> None:
        network.rows.append([GOOD, INFINITE, b"\xff", GOOD])

        network.sender.send_batch()

        assert network.batches == [["truck-1", "truck-4"]]
        assert (network.waiting(), network.rows.dropped_rows()) == ([], 2)

    def test_makes_no_request_where_there_is_no_other(self, network: PlayedNetwork) -> None:
        network.rows.append([INFINITE])

        network.sender.send_batch()

        assert (network.batches, network.waiting(), network.rows.dropped_rows()) == ([], [], 1)


class TestARefusal:
    @pytest.mark.parametrize("status", [400, 403, 404, 405, 410, 413, 422])
    def test_of_a_proxy_deletes_no_row(self, network: PlayedNetwork, status: int) -> None:
        network.rows.append([GOOD, GOOD])
        network.answer = lambda _: httpx.Response(status, html="<h1>nginx</h1>")

        with pytest.raises(NotReached):
            network.sender.send_batch()

        assert (len(network.batches), network.waiting(), network.rows.dropped_rows()) == (1, [1, 2], 0)

    def test_that_blames_no_row_deletes_none(self, network: PlayedNetwork) -> None:
        network.rows.append([GOOD, GOOD])
        network.answer = lambda _: problem(415)

        with pytest.raises(ServerRefused):
            network.sender.send_batch()

        assert network.waiting() == [1, 2]

    def test_of_one_row_deletes_that_one_alone(self, network: PlayedNetwork) -> None:
        network.rows.append([GOOD] * 8)
        network.answer = lambda ids: problem(422) if "truck-3" in ids else results(["accepted"] * len(ids))

        network.sender.send_batch()

        assert (network.waiting(), network.rows.dropped_rows()) == ([], 1)

    def test_of_a_whole_batch_keeps_the_next_one_waiting(self, network: PlayedNetwork) -> None:
        network.rows.append([GOOD] * (BATCH_ROWS + 1))
        network.answer = lambda ids: results(["rejected"] * len(ids))

        with pytest.raises(ServerRefused):
            network.sender.send_batch()

        assert (network.waiting(), network.rows.dropped_rows()) == ([BATCH_ROWS + 1], BATCH_ROWS)

    def test_by_an_id_that_others_have_is_counted_and_later_numbers_are_given(
        self, network: PlayedNetwork
    ) -> None:
        network.rows.append([GOOD] * 2)
        network.answer = lambda _: results(["conflict", "accepted"])

        network.sender.send_batch()

        assert (network.waiting(), network.rows.dropped_rows()) == ([], 1)
        assert network.rows.append([GOOD]) == [3 + JUMP]

    def test_of_a_kind_that_the_agent_does_not_know_is_counted(self, network: PlayedNetwork) -> None:
        network.rows.append([GOOD] * 2)
        network.answer = lambda _: results(["accepted", "ambiguous_id"])

        network.sender.send_batch()

        assert (network.waiting(), network.rows.dropped_rows()) == ([], 1)
