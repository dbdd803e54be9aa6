"""How a story is played: parts in order, labels after their rows, and a caller that follows the deployment."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import orjson
import pytest

from driftline.demo.api_client import Api
from driftline.demo.plan import load_plan
from driftline.demo.progress import StoryProgress, load_story, save_story
from driftline.demo.story import PART, StorySetting
from driftline.demo.traffic import Traffic
from driftline.demo.visits import LABEL_LAG, LOST_COLUMN, MODEL, Visits
from driftline.demo.wire import RequestSender
from tests.driftline.demo.conftest import Received, Reply, ScriptedServer

BEGAN = datetime(2026, 11, 28, 12, tzinfo=UTC)
INFER, PROMOTE = f"/v2/models/{MODEL.name}/infer", f"{MODEL.path}/promote"


class Deployment:
    """Answers as a platform does that has always computed everything; people change its champion."""

    def __init__(self) -> None:
        self.champion = "1"
        self.promotions: list[dict[str, str]] = []

    def answer(self, request: Received) -> Reply:
        if request.path == PROMOTE:
            self.champion = str(request.json()["version"])
            self.promotions.append(request.headers)
        if request.path == f"{MODEL.path}/deployment":
            return Reply(body={"champion": self.champion, "generation": 7})
        return Reply(body={"computed_until": BEGAN.isoformat()})


@pytest.fixture
def deployment(server: ScriptedServer) -> Deployment:
    made = Deployment()
    server.script = made.answer
    return made


@pytest.fixture
def start(server: ScriptedServer, tmp_path: Path) -> Iterator[Callable[[], Visits]]:
    """Start the story as a new process would, set up already, a part of a day before the release."""
    api = Api("127.0.0.1", server.port, "t")
    sender = RequestSender("127.0.0.1", server.port, INFER, "t", connections=1)

    at_once = Event()
    at_once.set()

    def begin() -> Visits:
        traffic = Traffic(api=api, sender=sender, model=MODEL.name)
        story = Visits(StorySetting(tmp_path, api, traffic, at_once, Event()), project="default", began=BEGAN)
        if load_story(tmp_path, MODEL.name) is None:
            before = story.fault.onset - PART
            save_story(tmp_path, StoryProgress(model=MODEL.name, until=before, doing=""))
        return story

    yield begin
    sender.close()
    api.close()


def asked(server: ScriptedServer) -> list[dict[str, Any]]:
    """The values of the rows that were asked about since the last look, by feature."""
    bodies: list[Any] = [request.json() for request in server.received if request.path == INFER]
    server.received.clear()
    return [
        dict(zip([one["name"] for one in body["inputs"]], row, strict=True))
        for body in bodies
        for row in zip(*(one["data"] for one in body["inputs"]), strict=True)
    ]


@pytest.mark.slow
def test_the_caller_sends_whole_rows_until_the_release_and_again_after_the_roll_back(
    server: ScriptedServer, deployment: Deployment, start: Callable[[], Visits], tmp_path: Path
) -> None:
    onset = start().fault.onset

    start().play_until(onset)
    before = asked(server)
    start().play_until(onset + PART)
    broken = asked(server)
    deployment.champion = "1"
    start().play_until(onset + 2 * PART)
    mended = asked(server)

    assert [headers["if-match"] for headers in deployment.promotions] == ["7"]
    assert len(before) > 300
    assert len(broken) > 300
    assert all(row[LOST_COLUMN] is not None for row in before + mended)
    assert all((row[LOST_COLUMN] is None) == (row["plan"] == "free") for row in broken)
    plan = load_plan(tmp_path, MODEL.name)
    assert plan is not None
    assert plan.faults[0].end == onset + PART


@pytest.mark.slow
def test_labels_follow_their_rows_and_a_stopped_story_sends_nothing_twice(
    server: ScriptedServer, deployment: Deployment, start: Callable[[], Visits]
) -> None:
    story = start()
    lag, onset = LABEL_LAG, story.fault.onset

    story.play_until(onset)
    start().play_until(onset + PART)

    rows: dict[str, datetime] = {}
    for request in server.received:
        body: Any = request.json() if request.body else {}
        if request.path == INFER:
            times = orjson.loads(body["parameters"]["driftline_timestamp"])
            for place, moment in enumerate(times):
                key = f"{body['parameters']['driftline_id']}:{place}"
                assert key not in rows
                rows[key] = datetime.fromisoformat(moment)
        for label in body.get("labels", []):
            known = datetime.fromisoformat(label["timestamp"])
            assert known <= onset + PART
            assert label["id"] not in rows or known - rows[label["id"]] == lag
    assert len(rows) > 600
    assert timedelta() < lag < PART


@pytest.mark.slow
def test_rows_that_are_asked_about_one_by_one_have_their_labels_under_their_own_ids(
    server: ScriptedServer, deployment: Deployment, start: Callable[[], Visits], tmp_path: Path
) -> None:
    onset = start().fault.onset
    save_story(tmp_path, StoryProgress(model=MODEL.name, until=onset, doing="", singly_from=onset))

    start().play_until(onset + PART)

    bodies: list[Any] = [request.json() for request in server.received if request.body]
    asked = {
        body["parameters"]["driftline_id"]: datetime.fromisoformat(
            orjson.loads(body["parameters"]["driftline_timestamp"])[0]
        )
        for body in bodies
        if "parameters" in body and "." in body["parameters"]["driftline_id"]
    }
    labelled = {one["id"] for body in bodies for one in body.get("labels", [])}
    assert len(asked) > 300
    assert {id_ for id_ in labelled if "." in id_} == {
        id_ for id_, at in asked.items() if at + LABEL_LAG < onset + PART
    }
