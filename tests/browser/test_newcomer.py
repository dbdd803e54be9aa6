"""A newcomer's first minutes, with the README alone: from an empty installation to drift, an e-mail and its cause.

Three ways lead there: two files, a few lines of Python, an ONNX file. Each is done in a real browser at a whole
installation: its workers measure, judge and send the e-mail. With DRIFTLINE_SCREENSHOTS each step leaves a picture.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from playwright.sync_api import Page, expect

import driftline_client
from tests.browser.conftest import INSTALLATION_PATIENCE_MS as PATIENCE_MS
from tests.browser.conftest import WIDE
from tests.browser.newcomer_files import (
    FEATURES,
    NUMBERS,
    days_of_applications,
    train_onnx,
    write_newer_file,
    write_plain_file,
    write_training_file,
)
from tests.browser.people import add_an_address, log_in, mail_about, text_of
from tests.browser.pictures import save_picture
from tests.flows.installation.running import Installation
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

SECONDS_TO_NOTICE = 120

type Look = Callable[[str], None]


@pytest.fixture
def look(page: Page, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[Look]:
    """Take a picture of a step; in the end the seconds from the login to each step are printed."""
    began, steps, way = time.monotonic(), [], request.node.name.removeprefix("test_")

    def step(name: str) -> None:
        steps.append(f"{name} {time.monotonic() - began:.0f} s")
        save_picture(page, f"newcomer {way} {len(steps):02d} {name}", WIDE)

    yield step
    with capsys.disabled():
        print(f"\n  {way}: {', '.join(steps)} ", end="")


def test_two_files(page: Page, installation: Installation, look: Look, tmp_path: Path) -> None:
    training, newer = tmp_path / "training.csv", tmp_path / "november.csv"
    write_training_file(training)
    write_newer_file(newer)

    log_in(page, installation)
    look("start")
    add_a_model(page, "loans")
    upload(page, training)
    roles = roles_on_page(page)
    look("training file previewed")
    confirm(page)
    expect(page.locator("#references")).to_contain_text("Ready", timeout=PATIENCE_MS)  # without a reload
    look("reference")
    open_tab(page, "Predictions")
    page.click("main a:has-text('Import')")
    upload(page, newer)
    newer_roles = roles_on_page(page)
    page.fill("#id_time_zone", "UTC")
    look("newer file previewed")
    confirm(page)
    expect(page.locator("main")).to_contain_text("is being imported", timeout=PATIENCE_MS)
    look("imported")
    add_an_address(page)
    look("channel")
    add_the_default_rules(page, "loans")

    see_the_drift(page, "loans", look)
    see_the_incident_and_its_mail(page, installation, look)

    features = dict.fromkeys(FEATURES, "feature")
    assert roles == features | {"application_id": "id", "approved": "label"}
    assert newer_roles == features | {
        "application_id": "id",
        "decided_at": "timestamp",
        "decision": "prediction",
        "score": "probability",
        "approved": "label",
    }


def test_python(page: Page, installation: Installation, look: Look, tmp_path: Path) -> None:
    training = tmp_path / "training.csv"
    write_plain_file(training)
    url = f"http://127.0.0.1:{installation.port}"

    token = installation.token  # `manage.py up` prints it; one made on the page cannot make a model
    log_in(page, installation)
    with driftline_client.model("approvals", url, token, version="1", task="binary") as model:
        for at, row in days_of_applications():
            key = model.log(
                features={name: row[name] for name in FEATURES},
                prediction=row["decision"],
                probabilities=row["score"],
                timestamp=at,
            )
            model.label(key, row["approved"])
    command = [sys.executable, "-m", "driftline_client", "reference", str(training), "--model", "approvals"]
    sent = subprocess.run(
        [*command, "--version", "1"],
        env=installation.environment | {"DRIFTLINE_URL": url, "DRIFTLINE_TOKEN": token},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert sent.returncode == 0, sent.stdout + sent.stderr
    # First: who adds it after the rules have opened an incident is not notified of that one.
    add_an_address(page)
    add_the_default_rules(page, "approvals")
    look("default rules")

    see_the_drift(page, "approvals", look)
    see_the_incident_and_its_mail(page, installation, look)


def test_onnx(page: Page, installation: Installation, look: Look, tmp_path: Path) -> None:
    training, onnx = tmp_path / "training.csv", tmp_path / "loans.onnx"
    write_training_file(training)
    onnx.write_bytes(train_onnx())

    log_in(page, installation)
    add_a_model(page, "loans")
    open_tab(page, "Versions")
    page.set_input_files("[name=file]", onnx)
    page.fill(
        "[name=metadata]", json.dumps({"features": [{"name": name, "type": "float"} for name in NUMBERS]})
    )
    look("version")
    page.click("#upload button >> text=Upload")
    expect(page.locator("main")).to_contain_text("Version 1 is added", timeout=PATIENCE_MS)
    look("champion")
    page.goto("/start/?with=csv&model=loans")
    page.click("main >> text=Upload your training file")
    upload(page, training)
    roles = roles_on_page(page)
    look("training file previewed")
    confirm(page)
    expect(page.locator("#references")).to_contain_text("Ready", timeout=PATIENCE_MS)
    ask(f"http://127.0.0.1:{installation.port}/v2/models/loans/infer", installation.token)
    add_an_address(page)
    add_the_default_rules(page, "loans")

    see_the_drift(page, "loans", look)
    see_the_incident_and_its_mail(page, installation, look)

    others = {"purpose": "ignored", "partner": "ignored", "application_id": "id", "approved": "label"}
    assert roles == dict.fromkeys(NUMBERS, "feature") | others


# -- steps -------------------------------------------------------------------------------------------------------------
def add_a_model(page: Page, name: str) -> None:
    page.goto("/start/?with=csv")
    page.click("#tasks >> text=Add a model")
    page.fill("[name=name]", name)
    page.click("main form button >> text=Add")


def upload(page: Page, file: Path) -> None:
    page.set_input_files("[name=file]", file)
    page.click("main form button >> text=Upload")
    expect(page.locator("h2 >> text=as they will be stored")).to_be_visible(timeout=PATIENCE_MS)


def roles_on_page(page: Page) -> dict[str, str]:
    """What the preview takes each column for."""
    rows = page.locator("main table.cards tbody tr")
    return {row.locator("th").inner_text(): row.locator("select").input_value() for row in rows.all()}


def confirm(page: Page) -> None:
    page.click("main form button >> text=Confirm and store")


def open_tab(page: Page, name: str) -> None:
    page.click(f"nav.tabs >> text={name}")


def ask(url: str, token: str) -> None:
    """Ask the served model for ten days of predictions, at the times of the applications."""
    rows = list(days_of_applications())
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}) as client:
        for start in range(0, len(rows), 100):
            part = rows[start : start + 100]
            data = [row[name] for _, row in part for name in NUMBERS]
            times = json.dumps([time.isoformat() for time, _ in part])
            tensor = {
                "name": "applicant",
                "datatype": "FP32",
                "shape": [len(part), len(NUMBERS)],
                "data": data,
            }
            answer = client.post(url, json={"inputs": [tensor], "parameters": {"driftline_timestamp": times}})
            assert answer.status_code == 200, answer.text


def add_the_default_rules(page: Page, model: str) -> None:
    page.click("nav[aria-label=Main] >> text=Models")
    page.click(f"main table >> text={model}")
    open_tab(page, "Rules")
    page.click("main form button >> text=/Add (it|these)/")


def see_the_drift(page: Page, model: str, look: Look) -> None:
    page.goto(f"/models/{model}/drift")
    wait_until(lambda: tells_of(page, "credit_score"), seconds=SECONDS_TO_NOTICE, what="the drift page")
    look("drift")


def tells_of(page: Page, words: str) -> bool:
    page.reload()
    return words in page.locator(".verdict").first.inner_text()


def see_the_incident_and_its_mail(page: Page, installation: Installation, look: Look) -> None:
    """The newcomer's e-mail names the column, and its link opens the incident, which names that column first."""
    mail = wait_until(
        lambda: mail_about("credit_score", installation.home / "mail"),
        seconds=SECONDS_TO_NOTICE,
        what="the e-mail of the incident",
    )
    text = text_of(mail)
    page.goto(cast(Any, re.search(r"https?://\S+/incidents/\d+", text))[0])
    look("incident")
    causes = page.locator(".causes li")

    assert "missing" in text, text
    assert "credit_score" in causes.first.inner_text()
    assert "Page not found" not in page.title()
