"""One caller sends far more requests than a server can run at once; the others are answered as ever."""

import asyncio
import json
from contextlib import closing
from itertools import count

import pytest

from driftline.base.clock import now
from driftline.base.periods import rfc3339
from tests.attacks.crowd import Answered, Asked, ask, crowd, p99, sign_in, statuses
from tests.flows.installation.conftest import Tell
from tests.flows.installation.running import FEATURES, Installation, make_model

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

MODEL = "flooded"
_numbers = count()


@pytest.fixture
def model(installation: Installation) -> str:
    with closing(installation.api()) as api:
        if api.find(f"/api/v1/models/{MODEL}") is None:
            make_model(installation, MODEL)
    return MODEL


def logged(installation: Installation, model: str) -> Asked:
    item = {
        "id": f"flood-{next(_numbers)}",
        "timestamp": rfc3339(now()),
        "version": "elsewhere",
        "features": dict.fromkeys(FEATURES, 1.0),
        "prediction": "1",
        "probability": 0.8,
    }
    return Asked(
        f"/api/v1/models/{model}/predictions",
        "POST",
        {"Authorization": f"Bearer {installation.token}", "Content-Type": "application/json"},
        json.dumps({"predictions": [item]}).encode(),
    )


def inferred(installation: Installation, model: str) -> Asked:
    inputs = [{"name": name, "shape": [1, 1], "datatype": "FP32", "data": [1.0]} for name in FEATURES]
    return Asked(
        f"/v2/models/{model}/infer",
        "POST",
        {"Authorization": f"Bearer {installation.token}", "Content-Type": "application/json"},
        json.dumps({"inputs": inputs}).encode(),
    )


async def beside(port: int, flood: list[Asked], asked: list[Asked]) -> tuple[list[Answered], list[Answered]]:
    """Send a flood at once and meanwhile other requests, one after another until all were sent."""
    flooding = asyncio.ensure_future(crowd(port, flood))
    await asyncio.sleep(0)  # the flood is on its way
    others = [await ask(port, one) for one in asked]
    return await flooding, others


def test_anonymous_probes_do_not_take_the_database_from_those_who_log(
    installation: Installation,
    model: str,
    tell: Tell,
) -> None:
    """160 strangers asked /readyz at once; each took a thread and a connection, and logging was answered 503."""
    flood = [Asked("/readyz")] * 480
    logging = [logged(installation, model) for _ in range(12)]

    probes, others = asyncio.run(beside(installation.port, flood, logging))

    tell(f"/readyz {statuses(probes)}, logging {statuses(others)}, p99 {p99(others):.2f} s")
    assert statuses(probes) == {200: 480}
    assert statuses(others) == {200: 12}


def test_one_persons_pages_leave_others_the_server(
    installation: Installation,
    model: str,
    tell: Tell,
) -> None:
    """300 pages at once of one signed-in person: 182 were answered 500, and the first inference took seconds."""
    person = sign_in(installation)
    flood = [Asked(f"/p/default/models/{model}/", headers=person)] * 300
    asked = [inferred(installation, model) for _ in range(100)] + [
        logged(installation, model) for _ in range(12)
    ]

    pages, others = asyncio.run(beside(installation.port, flood, asked))

    tell(
        f"pages {statuses(pages)}, inference p99 {p99(others[:100]) * 1000:.0f} ms, the first "
        f"{others[0].seconds * 1000:.0f} ms, logging {statuses(others[100:])} p99 {p99(others[100:]):.2f} s"
    )
    assert set(statuses(pages)) <= {200, 503}
    assert statuses(pages)[200] > 0
    assert all("retry-after" in page.headers for page in pages if page.status == 503)
    assert statuses(others) == {200: 112}


def test_strangers_leave_those_who_are_known_their_pages(
    installation: Installation,
    model: str,
    tell: Tell,
) -> None:
    """Anonymous requests for the sign-in page, made-up tokens and all, kept everybody else waiting."""
    person = sign_in(installation)
    asyncio.run(ask(installation.port, Asked(f"/p/default/models/{model}/", headers=person)))
    strangers = [Asked("/accounts/login/")] * 200
    strangers += [
        Asked("/api/v1/models", headers={"Authorization": f"Bearer dl_{place}"}) for place in range(100)
    ]
    asked = [Asked(f"/p/default/models/{model}/", headers=person) for _ in range(10)]

    flood, pages = asyncio.run(beside(installation.port, strangers, asked))

    tell(f"strangers {statuses(flood)}, a member's pages {statuses(pages)}, p99 {p99(pages):.2f} s")
    assert statuses(pages) == {200: 10}
    assert set(statuses(flood)) <= {200, 401, 503}


def test_connections_stay_below_what_the_database_has(installation: Installation, model: str) -> None:
    """Each request beyond the sixteenth opened a connection of its own, until the database refused everybody."""
    person = sign_in(installation)
    flood = [Asked(f"/p/default/models/{model}/", headers=person)] * 150 + [Asked("/accounts/login/")] * 150

    asyncio.run(crowd(installation.port, flood))

    [[connections]] = installation.query("SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL")
    assert connections < 50
