"""A job from its acknowledgement to its callback, with the database away and its process killed in between."""

import time
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from tests.flows.installation.clients import infer_body
from tests.flows.installation.conftest import Tell
from tests.flows.installation.running import SERVING, Installation, make_model
from tests.monitors.alerts.receiver import Receiver
from tests.waiting import wait_until

pytestmark = [pytest.mark.installation, pytest.mark.e2e, pytest.mark.chaos]

BODY = infer_body([1.0, 2.0, 3.0, 4.0])
WISH = {"Prefer": "respond-async", "Driftline-Callback": "app"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def client(installation: Installation) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {installation.token}"}
    transport = httpx.HTTPTransport(retries=5)
    with httpx.Client(
        base_url=f"http://127.0.0.1:{installation.port}", headers=headers, transport=transport, timeout=60
    ) as client:
        yield client


def ended(client: httpx.Client, job: str) -> httpx.Response | None:
    """Give a job's answer where it has one; a process that was just killed may take the connection along."""
    try:
        found = client.get(job)
    except httpx.TransportError:
        return None
    return None if found.status_code == 202 else found


def test_is_answered_without_the_database_and_called_back_when_it_is_there_again(
    installation: Installation, client: httpx.Client, receiver: Receiver, tell: Tell
) -> None:
    model_id = make_model(installation, "later")
    with closing(installation.api()) as api:
        channel = {"name": "app", "kind": "callback", "target": receiver.url}
        receiver.secret = api.post("/api/v1/channels", channel)["secret"]
    ask = "/v2/models/later/infer"
    wait_until(lambda: client.post(ask, content=BODY, headers=WISH).status_code == 202, what="the callback")
    now = client.post(ask, content=BODY)
    wait_until(lambda: receiver.received, what="the first callback")

    with installation.stalled("postgres"):
        job = client.post(ask, content=BODY, headers=WISH)
        installation.kill(SERVING)
        answer = wait_until(lambda: ended(client, job.headers["location"]), what="the answer")
        assert len(receiver.received) == 1
    began = time.monotonic()
    wait_until(lambda: len(receiver.received) == 2, seconds=90, what="the callback")

    told = receiver.verified()
    stored = installation.wait_until_stored(model_id, {job.json()["prediction_id"]})
    tell(
        f"a job outlived its process and the database; called back {time.monotonic() - began:.1f} s after both"
    )
    assert (job.status_code, answer.status_code, answer.content) == (202, 200, now.content)
    assert (told["event"], told["job"]["id"], told["answer"]) == (
        "job.succeeded",
        job.json()["id"],
        now.json(),
    )
    assert stored[job.json()["prediction_id"]] == 1
    assert len(stored) == 3
