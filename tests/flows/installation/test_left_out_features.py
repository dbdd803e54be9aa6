"""With every feature left out, an installation leads from a request to an incident, and links to nothing else."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import httpx
import numpy as np
import pytest
from django.urls import resolve

from driftline.base.periods import rfc3339
from driftline.features import FEATURES
from tests.flows.installation.browser import signed_in
from tests.flows.installation.running import Installation
from tests.inference.onnx_models import summing_model
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

MODEL = "plain"
PATH = f"/api/v1/models/{MODEL}"
ROUTES = {
    "hosts": "/api/v1/serving-hosts/self/plan",
    "sources": "/api/v1/sources",
    "lake": "/api/v1/lake",
    "sinks": "/api/v1/sink",
    "devices": "/api/v1/devices",
    "device_summaries": "/api/v1/devices/self/summaries",
    "optimiser": f"{PATH}/versions/1/variants",
    "reports": f"{PATH}/reports",
    "mlflow": f"/models/{MODEL}/mlflow",
    "registry_imports": "/mlflow-imports/",
    "pulls": f"/models/{MODEL}/pulls",
    "remote_training": f"/models/{MODEL}/pipeline",
}
"""One route of each feature."""
METADATA = {
    "features": [{"name": name, "type": "float"} for name in ("f0", "f1")],
    "outputs": {"prediction": "sum"},
}
ROWS = 300
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
NOT_FOLLOWED = ("/docs/", "/static/", "/accounts/logout")
"""The documentation may not be built here."""


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation without any feature."""
    installation = Installation(tmp_path_factory.mktemp("core") / "home", free_port())
    installation.environment["DRIFTLINE_FEATURES"] = "none"
    try:
        installation.start()
        yield installation
    finally:
        installation.end()
    assert installation.processes() == []


@pytest.fixture(scope="module")
def client(core: Installation) -> Iterator[httpx.Client]:
    """A client with the first token, of an installation that has a monitored model."""
    headers = {"Authorization": f"Bearer {core.token}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{core.port}", headers=headers, timeout=60) as client:
        deploy(client)
        yield client


def test_a_day_of_shifted_requests_leads_to_an_incident_and_every_link_to_a_page(
    core: Installation, client: httpx.Client
) -> None:
    for days_ago, shift in ((3, 0.0), (2, 0.0), (1, 1000.0), (0, 0.0)):
        rows = rows_of(days_ago, shift)
        assert ask(client, rows, days_ago) == pytest.approx(rows.sum(axis=1), rel=1e-5)

    incident = wait_until(lambda: incidents(client), what="an incident")[0]
    row = client.get(f"{PATH}/predictions/ago-1:7").json()
    faulty = client.get(f"{PATH}/metrics?metric=faulty_features&step=day&from=-4d").json()["items"]
    drift = client.get(f"{PATH}/drift").json()["items"]
    wait_until(lambda: client.get("/readyz").json()["status"] == "ready", what="a heartbeat of the worker")
    with signed_in(core) as browser:
        statuses = follow_links(browser, "/", "/admin/")

    assert (incident["title"], incident["rule"]["name"]) == (
        f"{MODEL}: f0 fails quality checks",
        "Data quality failure",
    )
    assert (row["role"], row["prediction"]) == ("champion", pytest.approx(sum(row["features"].values())))
    assert [(point["value"], point["n"]) for point in faulty[:3]] == [(0, ROWS), (0, ROWS), (1, ROWS)]
    assert {item["feature"]: item["decision"] for item in drift} == {
        "f0": "drifted",
        "f1": "stable",
        "prediction": "drifted",
    }
    assert {path: status for path, status in statuses.items() if status != 200} == {}
    of_project = {path.removeprefix("/p/default") for path in statuses}
    assert {"/", f"/models/{MODEL}/", f"/incidents/{incident['id']}", "/admin/"} <= of_project


def test_what_is_left_out_is_not_found(core: Installation, client: httpx.Client) -> None:
    for route in ROUTES.values():
        resolve(route)  # in this process no feature is left out: a route that does not exist raises here
    with signed_in(core) as browser:
        statuses = {
            feature: (client if route.startswith("/api/") else browser).get(route).status_code
            for feature, route in ROUTES.items()
        }

    assert statuses == dict.fromkeys(FEATURES, 404)


def deploy(client: httpx.Client) -> None:
    """Upload a model that adds up two numbers, which becomes champion, its reference, and the default rules."""
    lines = [
        f"{a},{b},{a + b},{time}" for (a, b), time in zip(rows_of(10).tolist(), times_of(10), strict=True)
    ]
    reference = "\n".join(["f0,f1,prediction,timestamp", *lines])
    answers = [
        client.post("/api/v1/models", json={"name": MODEL, "task": "regression"}),
        client.post(
            f"{PATH}/versions",
            files={"file": ("sum.onnx", summing_model(2))},
            data={"metadata": json.dumps(METADATA)},
        ),
        client.put(f"{PATH}/reference", content=reference, headers={"Content-Type": "text/csv"}),
        client.post("/api/v1/rules/defaults", json={"model": MODEL}),
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 202, 201], answers[-1].text


def rows_of(days_ago: int, shift: float = 0.0) -> np.ndarray:
    """Draw a day's rows, the first feature shifted; today has one row, the event by which the other days are over."""
    rows: np.ndarray = np.random.default_rng(days_ago).normal(10, 1, (ROWS if days_ago else 1, 2)).round(4)
    rows[:, 0] += shift
    return rows


def times_of(days_ago: int) -> list[str]:
    count = ROWS if days_ago else 1
    return [rfc3339(TODAY - timedelta(days=days_ago - place / count)) for place in range(count)]


def ask(client: httpx.Client, rows: np.ndarray, days_ago: int) -> list[float]:
    """Ask for the inference of a day's rows in one request; return the answers."""
    tensor = {"name": "X", "shape": rows.shape, "datatype": "FP32", "data": rows.ravel().tolist()}
    parameters = {"driftline_id": f"ago-{days_ago}", "driftline_timestamp": json.dumps(times_of(days_ago))}
    answer = client.post(f"/v2/models/{MODEL}/infer", json={"inputs": [tensor], "parameters": parameters})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["outputs"][0]["data"])


def incidents(client: httpx.Client) -> list[dict[str, Any]]:
    return list(client.get(f"/api/v1/incidents?model={MODEL}").json()["items"])


def follow_links(browser: httpx.Client, *starts: str) -> dict[str, int]:
    """Open every page that links lead to, once whatever the query, and return the status of each by its path."""
    statuses: dict[str, int] = {}
    waiting = list(starts)
    while waiting:
        link = waiting.pop()
        path = link.partition("?")[0]
        if path in statuses or path.startswith(NOT_FOLLOWED):
            continue
        answer = browser.get(link)
        statuses[path] = statuses[answer.url.path] = answer.status_code
        if "html" in answer.headers.get("content-type", ""):
            waiting += [unescape(link) for link in re.findall(r'href="(/[^"#]*)', answer.text)]
    return statuses
