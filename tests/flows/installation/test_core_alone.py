"""With every feature left out, an installation still leads from a request to an incident."""

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from driftline.demo.api_client import Api
from tests.flows.installation.clients import infer_body
from tests.flows.installation.running import Installation, make_model
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

MODEL = "plain"
PATH = f"/api/v1/models/{MODEL}"
ROWS = 200
RULE = {
    "model": MODEL,
    "name": "Answers wrong",
    "metric": "accuracy",
    "span": "day",
    "operator": "below",
    "threshold": 0.7,
    "min_rows": 100,
    "notify_within": 30 * 86_400,
}
OF_FEATURES = ("lake", "sources", "sink", "devices", "device-groups", f"models/{MODEL}/reports")
"""Paths of the API that features add."""


@pytest.fixture
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("core") / "home", free_port())
    installation.environment["DRIFTLINE_FEATURES"] = "none"
    try:
        installation.start()
        yield installation
    finally:
        installation.end()
    assert installation.processes() == []


def test_the_core_alone_leads_from_a_request_to_an_incident(core: Installation) -> None:
    with closing(core.api()) as api:
        make_model(core, MODEL, objectives={"label_lag_hours": 0})
        api.post("/api/v1/rules", RULE)
        for days_ago in (3, 2, 1):
            send_day(api, days_ago)
        [incident] = wait_until(lambda: incidents(api), what="an incident of wrong answers")
        assert api.get(f"{PATH}/predictions/day-1:7")["id"] == "day-1:7"
        assert {api.find(f"/api/v1/{path}") for path in OF_FEATURES} == {None}

    with closing(signed_in(core)) as browser:
        pages = {browser.get("/").url.path, "/admin/", f"/incidents/{incident['id']}"}
        assert broken_among(browser, pages) == {}
        assert browser.get("/p/default/devices/").status_code == 404
        wait_until(lambda: browser.get("/readyz").json()["status"] == "ready", what="readiness")


def send_day(api: Api, days_ago: int) -> None:
    """Ask for a day's inference in one call, then say that every answer was wrong."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    times = [(today - timedelta(days=days_ago - place / ROWS)).isoformat() for place in range(ROWS)]
    body = infer_body(
        *[[1.0, 2.0, 3.0, 4.0]] * ROWS,
        driftline_id=f"day-{days_ago}",
        driftline_timestamp=msgspec.json.encode(times).decode(),
    )
    api.call("POST", f"/v2/models/{MODEL}/infer", body, {"Content-Type": "application/json"})
    labels = [
        {"id": f"day-{days_ago}:{place}", "label": "0", "timestamp": time} for place, time in enumerate(times)
    ]
    assert api.post(f"{PATH}/labels", {"labels": labels})["accepted"] == ROWS


def incidents(api: Api) -> list[dict[str, Any]]:
    return list(api.get(f"/api/v1/incidents?model={MODEL}")["items"])


def broken_among(browser: httpx.Client, pages: set[str]) -> dict[str, int]:
    """Open pages and all pages of the project that they link to; return the status of those that do not open."""
    statuses: dict[str, int] = {}
    while new := pages - statuses.keys():
        for path in new:
            answer = browser.get(path)
            statuses[path] = answer.status_code
            if "html" in answer.headers["content-type"]:
                pages |= set(re.findall(r'href="(/p/default/[^"?#]*)', answer.text))
    assert len(statuses) > 30
    return {path: status for path, status in statuses.items() if status != 200}


def signed_in(installation: Installation) -> httpx.Client:
    browser = httpx.Client(
        base_url=f"http://127.0.0.1:{installation.port}", follow_redirects=True, timeout=60
    )
    page = browser.get("/accounts/login/")
    held = dict(re.findall(r'name="(csrfmiddlewaretoken|generation)" value="([^"]*)"', page.text))
    given = {"login": installation.credentials["email"], "password": installation.credentials["password"]}
    answer = browser.post(page.url, data=held | given, headers={"Referer": str(page.url)})
    assert "/accounts/login" not in str(answer.url)
    return browser
