"""The broker or the database stands still, as under SIGSTOP: sockets stay open and nothing is ever answered."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from itertools import count

import pytest

from driftline.base.clock import now
from driftline.base.periods import rfc3339
from tests.attacks.crowd import Answered, Asked, ask_one, crowd, sign_in, statuses
from tests.flows.installation.conftest import Tell
from tests.flows.installation.running import FEATURES, Installation, make_model
from tests.waiting import wait_until

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

MODEL = "frozen"
BROKER = "valkey-server"
_numbers = count()


@pytest.fixture
def model(installation: Installation) -> str:
    with closing(installation.api()) as api:
        if api.find(f"/api/v1/models/{MODEL}") is None:
            make_model(installation, MODEL)
    return MODEL


def posted(installation: Installation, path: str, body: object) -> Asked:
    headers = {"Authorization": f"Bearer {installation.token}", "Content-Type": "application/json"}
    return Asked(f"/api/v1/models/{MODEL}{path}", "POST", headers, json.dumps(body).encode())


def prediction(installation: Installation) -> Asked:
    item = {
        "id": f"frozen-{next(_numbers)}",
        "timestamp": rfc3339(now()),
        "version": "elsewhere",
        "features": dict.fromkeys(FEATURES, 1.0),
        "prediction": "1",
        "probability": 0.8,
    }
    return posted(installation, "/predictions", {"predictions": [item]})


def label(installation: Installation) -> Asked:
    return posted(installation, "/labels", {"labels": [{"id": f"frozen-{next(_numbers)}", "label": "1"}]})


@contextmanager
def frozen_database(installation: Installation) -> Iterator[None]:
    """Stop the server first: it would start no more processes then, and restart none."""
    with installation.stalled("bin/postgres -D"), installation.stalled("postgres: "):
        yield


def answered_within(answers: list[Answered], seconds: float) -> bool:
    """Tell whether all came in time; half a second is the client's and a busy machine's."""
    return all(answer.status and answer.seconds < seconds + 0.5 for answer in answers)


def sees_no_broker(installation: Installation) -> Answered | None:
    """Ask /readyz, which looks once a second; None while it does not say that the broker is away."""
    answered = ask_one(installation.port, Asked("/readyz"))
    return answered if answered.status == 200 and answered.json["checks"]["broker"] != "ok" else None


def test_logging_does_not_wait_for_a_broker_that_stands_still(
    installation: Installation, model: str, tell: Tell
) -> None:
    """With Valkey stopped, logging, /readyz and a segment search had no answer after 25 and 60 s."""
    period = {"from": rfc3339(now() - timedelta(days=1)), "to": rfc3339(now())}
    with installation.stalled(BROKER):
        first = ask_one(installation.port, prediction(installation))
        more = asyncio.run(
            crowd(
                installation.port,
                [prediction(installation) for _ in range(20)] + [label(installation) for _ in range(20)],
            )
        )
        ready = wait_until(lambda: sees_no_broker(installation), what="/readyz to name the broker")
        search = ask_one(installation.port, posted(installation, "/segment-searches", period))

    tell(
        f"broker frozen: logging {statuses([first, *more])}, first {first.seconds:.2f} s, slowest "
        f"{max(one.seconds for one in more):.2f} s, /readyz {ready.status} {ready.json['checks']}, "
        f"segment search {search.status} in {search.seconds:.2f} s"
    )
    assert statuses([first, *more]) == {200: 41}
    assert ready.status == 200
    assert ready.json["checks"]["broker"] != "ok"
    assert search.status == 202
    assert answered_within([first, *more, ready, search], 4.0)


def test_requests_have_an_end_while_the_database_stands_still(
    installation: Installation, model: str, tell: Tell
) -> None:
    """With PostgreSQL and its children stopped, requests hung, and each held a thread and a connection."""
    person = sign_in(installation)
    warm = ask_one(installation.port, prediction(installation))
    with frozen_database(installation):
        logging = asyncio.run(crowd(installation.port, [prediction(installation) for _ in range(30)]))
        labels = asyncio.run(crowd(installation.port, [label(installation) for _ in range(30)]))
        ready = ask_one(installation.port, Asked("/readyz"))
        alive = ask_one(installation.port, Asked("/healthz"))
        page = ask_one(installation.port, Asked(f"/models/{model}/", headers=person))
    back = wait_until(
        lambda: (answer := ask_one(installation.port, prediction(installation))).status == 200 and answer,
        what="the database's return",
    )

    tell(
        f"database frozen: logging {statuses(logging)} in {max(one.seconds for one in logging):.2f} s, "
        f"labels {statuses(labels)} in {max(one.seconds for one in labels):.2f} s, /readyz {ready.status} "
        f"{ready.json['checks']} in {ready.seconds:.2f} s, page {page.status} in {page.seconds:.2f} s"
    )
    assert (warm.status, back.status) == (200, 200)
    assert statuses([*logging, *labels]) == {503: 60}
    assert all("retry-after" in one.headers for one in [*logging, *labels, page])
    assert (ready.status, alive.status, page.status) == (503, 200, 503)
    assert ready.json["checks"]["database"] != "ok"
    assert answered_within([*logging, *labels, ready, alive, page], 2.0)
