"""The replay's order, its waiting, and that a second run continues."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from driftline.demo.api_client import Api
from driftline.demo.flights_replay import TOTAL_DAYS, Replay
from driftline.demo.flights_timeline import LIVE_START, MODEL, Timeline
from driftline.demo.progress import HISTORY, LIVE, SETUP, ReplayProgress, load_progress, save_progress
from driftline.demo.traffic import Traffic
from driftline.demo.wire import RequestRefused, RequestSender
from tests.driftline.demo.conftest import Received, Reply, ScriptedServer, write_timeline

SHIFT = timedelta(weeks=600)
INFER, LABELS, READ = f"/v2/models/{MODEL}/infer", f"/api/v1/models/{MODEL}/labels", f"/api/v1/models/{MODEL}"

Start = Callable[[], Replay]


@pytest.fixture
def sender(server: ScriptedServer) -> Iterator[RequestSender]:
    made = RequestSender("127.0.0.1", server.port, INFER, "t", connections=1)
    yield made
    made.close()


@pytest.fixture
def api(server: ScriptedServer) -> Iterator[Api]:
    made = Api("127.0.0.1", server.port, "t")
    yield made
    made.close()


@pytest.fixture
def start(sender: RequestSender, api: Api, timeline: Timeline, tmp_path: Path) -> Start:
    """Start a replay as a new process would: from the file that the last one left."""

    def begin() -> Replay:
        fresh = ReplayProgress(
            phase=SETUP,
            total_days=TOTAL_DAYS,
            started_at=datetime.now(UTC),
            updated_at=datetime.now(UTC),
            shift_weeks=600,
            minutes_per_day=10,
        )
        return Replay(
            home=tmp_path,
            timeline=timeline,
            traffic=Traffic(api=api, sender=sender, model=MODEL),
            progress=load_progress(tmp_path) or save_progress(tmp_path, fresh),
        )

    return begin


def sent(server: ScriptedServer) -> list[object]:
    """What was sent, in order: flights by their id, labels as lists of ids, a look at the model as `?`."""
    told: list[object] = []
    for request in server.received:
        if request.path == INFER:
            told.append(request.json()["parameters"]["driftline_id"])  # type: ignore[index]
        elif request.path == LABELS:
            told.append([label["id"] for label in request.json()["labels"]])  # type: ignore[attr-defined]
        else:
            told.append("?")
    return told


def computed(moment: datetime | None) -> Callable[[Received], Reply]:
    return lambda request: Reply(body={"computed_until": moment and (moment + SHIFT).isoformat()})


END_OF_FIRST = datetime(2013, 3, 4, 23, tzinfo=UTC)
END_OF_SECOND = datetime(2013, 3, 5, 10, tzinfo=UTC)


class TestHistory:
    def test_flights_go_before_the_labels_that_land_in_their_part_of_the_day(
        self, server: ScriptedServer, start: Start
    ) -> None:
        server.script = computed(END_OF_SECOND)

        start().run(history_days=2)

        assert sent(server) == [
            *("flight-0", ["flight-0"], "flight-1", "flight-2", "?"),
            *(["flight-2"], "flight-3", ["flight-3"], "?"),
        ]

    def test_labels_say_when_the_flight_landed(self, server: ScriptedServer, start: Start) -> None:
        server.script = computed(END_OF_FIRST)

        start().run(history_days=1)

        (labels,) = [request.json()["labels"] for request in server.received if request.path == LABELS]
        landed = datetime(2013, 3, 4, 4, tzinfo=UTC) + SHIFT
        assert labels == [{"id": "flight-0", "label": "late", "timestamp": landed.isoformat()}]

    def test_the_next_day_waits_until_the_day_is_computed(self, server: ScriptedServer, start: Start) -> None:
        looks = iter([None, datetime(2013, 3, 4, 12, tzinfo=UTC), END_OF_FIRST, END_OF_SECOND])

        def slowly(request: Received) -> Reply:
            return computed(next(looks))(request) if request.path == READ else Reply()

        server.script = slowly
        start().run(history_days=2)

        assert [what for what in sent(server) if not isinstance(what, list)] == [
            *("flight-0", "flight-1", "flight-2", "?", "?", "?"),
            *("flight-3", "?"),
        ]

    def test_a_second_run_continues_with_the_day_that_was_not_finished(
        self, server: ScriptedServer, start: Start, tmp_path: Path
    ) -> None:
        server.script = computed(END_OF_SECOND)
        start().run(history_days=1)
        server.received.clear()

        start().run(history_days=2)

        assert sent(server) == [["flight-2"], "flight-3", ["flight-3"], "?"]
        progress = load_progress(tmp_path)
        assert progress is not None
        assert (progress.phase, progress.day, progress.flights_sent) == (HISTORY, 2, 4)
        assert progress.event_day == date(2013, 3, 5) + SHIFT


class TestLive:
    def test_flights_and_labels_come_in_their_order_with_the_time_of_now(
        self, server: ScriptedServer, sender: RequestSender, api: Api, tmp_path: Path
    ) -> None:
        """A day takes a minute, so the forty minutes until the last flight take under two seconds."""
        progress = ReplayProgress(
            phase=LIVE,
            total_days=TOTAL_DAYS,
            started_at=datetime.now(UTC),
            updated_at=datetime.now(UTC),
            shift_weeks=600,
            minutes_per_day=1,
        )
        minutes = lambda number: LIVE_START + timedelta(minutes=number)  # noqa: E731
        autumn = write_timeline(
            tmp_path / "autumn.parquet",
            departures=[LIVE_START - timedelta(hours=2), minutes(5), minutes(40)],
            landings=[minutes(6), minutes(20), minutes(90)],
            ids=["flight-0", "flight-1", "flight-2"],
        )
        server.script = lambda request: Reply(status=404 if b"flight-2" in request.body else 200)

        with pytest.raises(RequestRefused):
            Replay(
                home=tmp_path,
                timeline=autumn,
                traffic=Traffic(api=api, sender=sender, model=MODEL),
                progress=progress,
                tick_s=0.1,
            ).run()

        assert sent(server) == ["flight-1", ["flight-1"], "flight-2"]
        (label,) = server.received[1].json()["labels"]  # type: ignore[misc]
        age = datetime.now(UTC) - datetime.fromisoformat(label["timestamp"])
        assert timedelta() < age < timedelta(seconds=30)
        stopped = load_progress(tmp_path)
        assert stopped is not None
        assert stopped.flight_time is not None
        assert minutes(20) < stopped.flight_time < minutes(40)


class TestProgress:
    def test_history_says_how_far_it_is(self, start: Start, server: ScriptedServer, tmp_path: Path) -> None:
        server.script = computed(END_OF_SECOND)

        start().run(history_days=2)

        progress = load_progress(tmp_path)
        assert progress is not None
        assert progress.sentence().startswith(f"Flights: day 2 of 91 ({date(2013, 3, 5) + SHIFT}), ")
        assert progress.share == 2 / 91

    def test_no_file_means_no_demo(self, tmp_path: Path) -> None:
        assert load_progress(tmp_path) is None
