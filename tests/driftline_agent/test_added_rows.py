"""Rows that are not sent whole are added up by the hour: with those that are, each counts once, whatever happens."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from driftline_agent.errors import NotReached, ServerRefused
from driftline_agent.rows.row_store import RowsDropped, RowStore
from driftline_agent.rows.summariser import Summariser
from driftline_agent.rows.window_store import HOUR_MS, WHOLE, Batch, Hour, Window, WindowStore
from driftline_agent.server.uplink import Uplink
from monitors.stats.mergeable.sketches import NumericSummary
from monitors.stats.mergeable.window_summary import WindowSummary
from tests.driftline_agent.device import IDENTITY, YEAR_2026_MS
from tests.driftline_agent.set_clock import SetClock

ROOM = 1 << 20
LAYOUT = {
    "version": "1",
    "task": "regression",
    "classes": [],
    "positive_class": None,
    "features": [
        {"name": "x", "is_number": True, "centre": 0.0},
        {"name": "town", "is_number": False, "centre": None},
    ],
    "prediction_centre": 0.0,
    "missing": [],
    "segment_features": ["town"],
}


def body(x: float, town: str = "Bonn") -> bytes:
    row = {"version": "1", "features": {"x": x, "town": town}, "prediction": 2 * x, "latency_ms": 1.0}
    return json.dumps(row).encode()


class Device:
    """A device that has heard from its server, which said how rows are added up."""

    def __init__(self, folder: Path, room: int = ROOM) -> None:
        self.clock = SetClock(running=HOUR_MS // 2)
        self.clock.hear(YEAR_2026_MS + HOUR_MS // 2)
        self.rows = RowStore(folder / "rows.db", max_bytes=room, clock=self.clock, first_sequence=1)
        self.windows = WindowStore(self.rows, "truck")
        self.windows.store_layout("1", json.dumps(LAYOUT))
        self.uplink = Uplink(IDENTITY.url, IDENTITY.token, self.clock, IDENTITY.public_key)
        self.uplink.close()
        self.sent: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self.uplink._client = httpx.Client(
            base_url=IDENTITY.url, transport=httpx.MockTransport(self._answer_request)
        )
        self.summariser = Summariser(replace(IDENTITY, enrolled_ms=0), self.rows, self.uplink)

    def answer(self, *bodies: bytes) -> None:
        """Store rows that are only added up."""
        self.rows.append(bodies, [False] * len(bodies))

    def _answer_request(self, request: httpx.Request) -> httpx.Response:
        """Answer as the server, with the statuses that come next, if any are named."""
        self.sent.append(json.loads(request.content))
        status = self.statuses.pop(0) if self.statuses else 200
        kind = "application/json" if status == 200 else "application/problem+json"
        content = LAYOUT if request.url.path.endswith("layout") else {"batch": self.sent[-1].get("batch")}
        content = content if status == 200 else {"detail": "it is wrong"}
        return httpx.Response(status, headers={"Content-Type": kind}, json=content)

    def add_up(self, *bodies: bytes) -> None:
        """Store rows, add them up, and forget what that asked."""
        self.answer(*bodies)
        self.summariser.add_rows()
        self.sent.clear()

    def send(self) -> bool:
        return self.summariser.send_batch(YEAR_2026_MS + HOUR_MS + self.summariser.margin_ms)

    def next_batch(self) -> Batch | None:
        return self.windows.next_batch(over_ms=YEAR_2026_MS + HOUR_MS)

    def close(self) -> None:
        self.rows.close()
        self.uplink.close()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path)
    yield device
    device.close()


def numbers_of(window: Window) -> NumericSummary:
    column = WindowSummary.decode(window.summary).features["x"]
    assert isinstance(column, NumericSummary)
    return column


class TestAnHour:
    def test_has_its_rows_once_in_all_and_in_the_segment_of_their_value(self, device: Device) -> None:
        device.answer(body(1.0), body(2.0, "Ulm"))
        device.summariser.add_rows()
        device.answer(body(4.0))
        device.summariser.add_rows()

        batch = device.next_batch()

        assert batch is not None
        assert {segment: window.rows for segment, window in batch.windows.items()} == {
            WHOLE: 3,
            "town:Bonn": 2,
            "town:Ulm": 1,
        }
        column = numbers_of(batch.windows[WHOLE])
        assert (column.n, column.minimum, column.maximum, column.total) == (3, 1.0, 4.0, 7.0)
        assert device.rows.unsent_rows() == 3

    def test_is_named_by_the_device_the_hour_and_its_rows_and_keeps_that_name(self, device: Device) -> None:
        device.answer(body(1.0), body(2.0))
        device.summariser.add_rows()
        first = device.next_batch()
        device.answer(body(3.0))
        device.summariser.add_rows()

        again = device.next_batch()

        assert first is not None
        assert again == first
        assert first.name == "truck:2026-01-01T00:1-2"
        device.windows.delete(first)
        later = device.next_batch()
        assert later is not None
        assert (later.name, later.windows[WHOLE].rows) == ("truck:2026-01-01T00:3-3", 1)

    def test_is_not_sent_before_it_is_over(self, device: Device) -> None:
        device.answer(body(1.0))
        device.summariser.add_rows()

        assert device.summariser.send_batch(YEAR_2026_MS + HOUR_MS + device.summariser.margin_ms - 1) is False

    def test_leaves_out_a_feature_with_too_many_values_for_good(self, device: Device) -> None:
        for start in (0, 30, 60):
            device.answer(*(body(1.0, f"town {number}") for number in range(start, start + 30)))
            device.summariser.add_rows()

        batch = device.next_batch()

        assert batch is not None
        assert [segment for segment, window in batch.windows.items() if window.summary] == [WHOLE]
        assert batch.windows[WHOLE].rows == 90

    def test_waits_for_its_rows_until_their_time_is_known(self, tmp_path: Path, device: Device) -> None:
        unheard = SetClock("another start", wall=0)
        device.rows.close()
        rows = RowStore(tmp_path / "rows.db", max_bytes=ROOM, clock=unheard, first_sequence=None)
        rows.append([body(1.0)], [False])
        summariser = Summariser(IDENTITY, rows, device.uplink)

        before = summariser.add_rows()
        unheard.hear(YEAR_2026_MS + 90_000)

        assert (before, summariser.add_rows()) == (0, 1)
        rows.close()


class TestARefusal:
    def test_of_segments_is_followed_by_the_hour_without_them(self, device: Device) -> None:
        device.add_up(body(1.0), body(2.0, "Ulm"))
        device.statuses = [422, 200]

        assert device.send()

        assert [[one["segment"] for one in sent["windows"]] for sent in device.sent] == [
            ["", "town:Bonn", "town:Ulm"],
            [""],
        ]
        assert (device.rows.unsent_rows(), device.rows.dropped_rows()) == (0, 0)

    def test_of_the_whole_hour_counts_its_rows_as_dropped(self, device: Device) -> None:
        device.add_up(body(1.0), body(2.0))
        device.statuses = [422, 422]

        assert device.send()

        assert (device.rows.unsent_rows(), device.rows.dropped_rows()) == (0, 2)

    @pytest.mark.parametrize("status", [415, 503])
    def test_that_is_not_of_the_hour_deletes_nothing(self, status: int, device: Device) -> None:
        device.add_up(body(1.0), body(2.0))
        device.statuses = [status]

        with pytest.raises((NotReached, ServerRefused)):
            device.send()

        assert (device.rows.unsent_rows(), device.rows.dropped_rows()) == (2, 0)

    def test_of_the_layout_refuses_the_rows(self, device: Device) -> None:
        device.answer(body(1.0))
        device.statuses = [422]

        device.summariser.add_rows()

        assert (device.rows.unsent_rows(), device.rows.dropped_rows()) == (0, 1)


class TestALayout:
    def test_is_asked_for_once_before_there_are_rows(self, device: Device) -> None:
        device.summariser.prepare("2")
        device.summariser.prepare("2")

        assert [sent["version"] for sent in device.sent] == ["2"]
        assert device.windows.layout("2") is not None

    def test_that_is_refused_holds_up_no_hour_of_another_version(self, device: Device) -> None:
        device.add_up(body(1.0))
        device.statuses = [422]

        device.summariser.prepare("2")

        assert device.send()
        assert device.rows.unsent_rows() == 0


class TestRows:
    def test_are_added_up_without_a_network_as_the_server_said_last(self, device: Device) -> None:
        device.answer(body(1.0))
        device.statuses = [503]

        assert device.summariser.add_rows() == 1

        assert device.windows.open_windows(Hour("1", YEAR_2026_MS))[WHOLE].rows == 1

    def test_that_the_log_would_not_take_are_counted_and_keep_no_other_back(self, device: Device) -> None:
        device.answer(b"\xff", body(float("1e39")), body(1.0))

        device.summariser.add_rows()

        batch = device.next_batch()
        assert batch is not None
        assert (batch.windows[WHOLE].rows, device.rows.dropped_rows()) == (1, 2)


class TestAPowerCut:
    def test_at_any_statement_leaves_each_row_in_one_place(self, device: Device, tmp_path: Path) -> None:
        device.answer(*(body(float(number)) for number in range(5)))
        device.summariser.add_rows()
        device.answer(*(body(float(number)) for number in range(5, 10)))
        images: list[Path] = []

        def cut(_: str) -> None:
            image = tmp_path / f"image{len(images)}"
            image.mkdir()
            for path in tmp_path.glob("rows.db*"):
                shutil.copy(path, image)
            images.append(image)

        device.rows.db.set_trace_callback(cut)
        device.summariser.add_rows()
        assert device.next_batch() is not None
        device.rows.db.set_trace_callback(None)

        assert len(images) > 8
        for image in images:
            revived = Device(image)
            while revived.summariser.add_rows():
                pass
            found = [revived.next_batch()]
            if found[0] is not None:
                revived.windows.delete(found[0])
                found.append(revived.next_batch())
            assert sum(one.windows[WHOLE].rows for one in found if one) == 10, image
            assert sum(numbers_of(one.windows[WHOLE]).total for one in found if one) == 45.0, image
            assert revived.rows.unsent_rows() == 10 - (found[0].windows[WHOLE].rows if found[0] else 0)
            revived.close()


class TestTheBound:
    def test_drops_rows_before_hours_and_counts_both(self, device: Device) -> None:
        device.answer(*(body(float(number)) for number in range(100)))
        device.summariser.add_rows()

        for _ in range(30):
            device.rows.append([body(1.0, "x" * 900)] * 100)
        while_rows_are_there = device.next_batch()

        assert while_rows_are_there is not None
        assert while_rows_are_there.windows[WHOLE].rows == 100
        dropped = device.rows.dropped_rows()
        assert dropped > 0
        assert device.rows.unsent_rows() + dropped == 3_100

    def test_drops_the_oldest_hour_where_there_is_no_row_left(self, device: Device) -> None:
        fat = {WHOLE: Window(7, bytes(300_000)), "town:Bonn": Window(7, bytes(100_000))}
        for place in range(3):
            device.answer(body(1.0))
            [row] = device.rows.oldest(rows=10, max_bytes=ROOM, earliest_ms=0, are_whole=False)
            hour = Hour("1", YEAR_2026_MS + place * HOUR_MS)
            if place < 2:
                device.windows.replace_rows(hour, [row], fat if place == 0 else {WHOLE: Window(5, b"x")})
        device.rows.delete([row.sequence])

        device.rows.append([bytes(500_000)])

        assert device.windows.open_windows(Hour("1", YEAR_2026_MS)) == {}
        assert device.windows.open_windows(Hour("1", YEAR_2026_MS + HOUR_MS)) != {}
        assert device.rows.dropped_rows() == 7

    def test_changes_no_hour_of_rows_that_were_dropped_meanwhile(self, device: Device) -> None:
        device.answer(body(1.0), body(2.0))
        rows = device.rows.oldest(rows=10, max_bytes=ROOM, earliest_ms=0, are_whole=False)
        device.rows.delete([1])

        with pytest.raises(RowsDropped):
            device.windows.replace_rows(Hour("1", YEAR_2026_MS), rows, {WHOLE: Window(2, b"x")})

        assert device.windows.open_windows(Hour("1", YEAR_2026_MS)) == {}
        assert device.rows.unsent_rows() == 1
