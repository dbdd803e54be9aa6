"""With every feature left out an installation still leads from a request to an incident, and links to nothing else."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import pytest

from driftline.features import FEATURES
from tests.flows.installation.running import Installation
from tests.inference.onnx_models import summing_model
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

MODEL = "plain"
PATH = f"/api/v1/models/{MODEL}"


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation without any feature."""
    installation = Installation(tmp_path_factory.mktemp("core") / "home", free_port())
    import os
    if not os.environ.get("SCRATCH_ALL"):
        installation.environment["DRIFTLINE_FEATURES"] = "none"
    try:
        print(installation.start())
        yield installation
    finally:
        installation.end()
    assert installation.processes() == []


@pytest.fixture(scope="module")
def client(installation: Installation) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {installation.token}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{installation.port}", headers=headers, timeout=60) as client:
        yield client

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
ROWS = 300


def rows_of(days_ago: int, shift: float = 0.0):
    values = np.random.default_rng(days_ago).normal(10, 1, (ROWS, 2)).round(4)
    values[:, 0] += shift
    times = [(TODAY - timedelta(days=days_ago - n / ROWS)).isoformat() for n in range(ROWS)]
    return values, times


def infer(client, values, id, times=None):
    parameters = {"driftline_id": id}
    if times:
        parameters["driftline_timestamp"] = json.dumps(times)
    body = {"inputs": [{"name": "X", "shape": list(values.shape), "datatype": "FP32", "data": values.ravel().tolist()}], "parameters": parameters}
    answer = client.post(f"/v2/models/{MODEL}/infer", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][0]["data"]


def test_x(installation, client):
    import logging; logging.getLogger("httpx").setLevel("WARNING")
    print(client.get("/readyz").text)
    d = installation.manage("doctor"); print(d.returncode, d.stdout, d.stderr)
    print(client.post("/api/v1/models", json={"name": MODEL, "task": "regression"}).text)
    meta = {"features": [{"name": "f0", "type": "float"}, {"name": "f1", "type": "float"}], "outputs": {"prediction": "sum"}}
    a = client.post(f"{PATH}/versions", files={"file": ("m.onnx", summing_model(2))}, data={"metadata": json.dumps(meta)})
    print(a.status_code, a.text)
    values, times = rows_of(10)
    csv = "\n".join(["f0,f1,prediction,timestamp", *(f"{a},{b},{a+b},{t}" for (a, b), t in zip(values.tolist(), times))])
    a = client.put(f"{PATH}/reference?version=1", content=csv, headers={"Content-Type": "text/csv"})
    print(a.status_code, a.text)
    a = client.post("/api/v1/rules/defaults", json={"model": MODEL}); print(a.text)
    import time
    t = time.monotonic()
    for ago, shift in ((3, 0), (2, 0), (1, 1000)):
        values, times = rows_of(ago, shift)
        out = infer(client, values, f"ago-{ago}", times)
        assert np.allclose(out, values.sum(axis=1))
    infer(client, np.array([[10.0, 10.0]]), "now")
    row = wait_until(lambda: (r := client.get(f"{PATH}/predictions/ago-1:7")).status_code == 200 and r.json())
    print(row)
    try:
        wait_until(lambda: client.get("/api/v1/incidents").json()["items"], seconds=60)
    finally:
        print(time.monotonic() - t)
        print(client.get("/api/v1/incidents").text)
        print(client.get(PATH).text)
        print(client.get(f"{PATH}/drift").text)
        print(client.get(f"{PATH}/metrics?metric=faulty_features&step=day&from=-5d").text)
    creds = installation.credentials
    with httpx.Client(base_url=f"http://127.0.0.1:{installation.port}", follow_redirects=True, timeout=60) as b:
        form = b.get("/accounts/login/")
        tok = re.search(r'name="csrfmiddlewaretoken" value="([^"]*)"', form.text)[1]
        gen = dict(re.findall(r'name="(csrfmiddlewaretoken|generation)" value="([^"]*)"', form.text))
        a = b.post(form.url, data=gen | {"login": creds["email"], "password": creds["password"]}, headers={"Referer": str(form.url)})
        print(a.status_code, a.url)
        seen, todo = {}, ["/", f"/models/{MODEL}/", f"/models/{MODEL}/settings", "/settings/project", "/incidents/1", "/admin/"]
        n = 0
        t = time.monotonic()
        while todo:
            p = todo.pop(0)
            if p in seen: continue
            try:
                r = b.get(p, follow_redirects=False)
            except Exception as e:
                print(p, e); continue
            seen[p] = r.status_code
            if r.status_code == 302: todo.append(r.headers["location"])
            if r.status_code not in (200,): print("LINK", p, r.status_code, r.headers.get("location"))
            if r.status_code == 200 and "html" in r.headers["content-type"] and not p.startswith("/docs/"):
                from html import unescape
                for h in re.findall(r'(?:href|src|hx-get)="(/[^"#]*)', r.text):
                    h = unescape(h)
                    if "logout" in h or h.startswith("/static") or h.startswith("/admin/"): continue
                    if h.split("?")[0] in {s.split("?")[0] for s in seen}: continue
                    todo.append(h)
            if len(seen) > 400: break
        print(len(seen), time.monotonic() - t)
        for p in sorted(seen): print(seen[p], p)
        for p in ["/sources","/settings/sources","/settings/lake","/settings/sink","/devices/","/devices",f"/models/{MODEL}/reports",f"/models/{MODEL}/mlflow","/mlflow-imports/",f"/models/{MODEL}/pulls",f"/models/{MODEL}/pipeline",f"/models/{MODEL}/versions/1/variants"]:
            print("OUT", p, b.get(p).status_code)
    for p in ["lake","sources","sink","devices","device-groups","mlflow-imports","models/plain/reports","models/plain/mlflow","models/plain/pulls","models/plain/versions/1/variants","runs/1/order","serving-hosts/self/plan","devices/self/summaries/layout", "devices/self/summaries"]:
        print("API", p, client.get("/api/v1/"+p).status_code)
    for log in sorted((installation.home/"log").glob("*")) if (installation.home/"log").exists() else []:
        tx = log.read_text(errors="replace")
        if "Traceback" in tx or "ERROR" in tx or "error" in tx.lower():
            print("LOGFILE", log); print("\n".join(l for l in tx.splitlines() if "rror" in l or "Traceback" in l)[:3000])
    print(client.get("/readyz").text)
    print([str(x) for x in installation.home.iterdir()])
