"""A newcomer's first ten minutes: a CSV of their own, three days of predictions, drift, a rule and an e-mail.

The installation is a whole one of its own: its workers send the e-mail.
"""

import csv
import json
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

import driftline_client
from tests.flows.installation.running import Installation
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

DAYS = 3
ROWS_A_DAY = 400
PATIENCE_MS = 60_000


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path / "home", free_port())
    try:
        installation.start()
        yield installation
    finally:
        installation.end()


@pytest.fixture
def page(browser: Browser, installation: Installation) -> Iterator[Page]:
    context = browser.new_context(base_url=f"http://127.0.0.1:{installation.port}")
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


def customers(n: int, *, seed: int, richer: float = 0.0) -> list[dict[str, Any]]:
    """Make up customers who leave or stay; `richer` moves the logarithm of their income."""
    rng = random.Random(seed)
    found = []
    for _ in range(n):
        plan, chance = rng.choice(["basic", "family", "pro"]), round(rng.betavariate(2, 3), 4)
        found.append(
            {
                "age": rng.randint(18, 80),
                "income": round(rng.lognormvariate(10.5 + richer, 0.4), 2),
                "plan": plan,
                "visits": rng.randint(0, 30),
                "probability": chance,
                "prediction": int(chance >= 0.5),
                "label": int(rng.random() < chance),
            }
        )
    return found


def write_training_file(path: Path) -> None:
    rows = customers(5000, seed=0)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def log_three_days(url: str, token: str) -> driftline_client.Counts:
    """Log and label as an application would that goes on today; the income moves on the second day."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with driftline_client.model("churn", url, token, version="1", strict=True) as model:
        for number in range(DAYS):
            day = midnight - timedelta(days=DAYS - number)
            for row in customers(ROWS_A_DAY, seed=number + 1, richer=0.8 if number else 0.0):
                key = model.log(
                    features={name: row[name] for name in ("age", "income", "plan", "visits")},
                    prediction=row["prediction"],
                    probabilities=row["probability"],
                    timestamp=day + timedelta(days=row["age"] / 100),
                )
                model.label(key, row["label"])
        model.log(features={"age": 44, "income": 52000.0, "plan": "pro", "visits": 3}, prediction=1)
        assert model.flush(60)
        return model.counts()


def tells_of(page: Page, words: str) -> bool:
    page.reload()
    return words in page.inner_text(".verdict")


def log_in(page: Page, home: Path) -> None:
    known = json.loads((home / "credentials").read_text())
    page.goto("/")
    page.fill("[name=login]", known["email"])
    page.fill("[name=password]", known["password"])
    page.click("main button")


def make_a_model_with_a_reference(page: Page, training: Path) -> None:
    page.click("text=CSV")
    page.click("#tasks >> text=Add a model")
    page.fill("[name=name]", "churn")
    page.click("main form button >> text=Add")
    page.set_input_files("[name=file]", training)
    page.click("main form button >> text=Upload")
    expect(page.locator("#references")).to_contain_text("Ready", timeout=PATIENCE_MS)  # without a reload


def make_a_token(page: Page) -> str:
    page.click("nav[aria-label=Main] >> text=Settings")
    page.fill("[name=name]", "my laptop")
    page.click("main form button >> text=Make a token")
    return page.inner_text("#secret")


def add_an_address(page: Page) -> None:
    page.click("nav[aria-label=Main] >> text=Settings")
    page.click("text=Channels")
    page.fill("[name=name]", "me")
    page.fill("[name=target]", "me@example.com")
    page.click("main form button >> text=Add")
    page.click("text=Send test")


def make_a_rule(page: Page) -> None:
    page.click("nav[aria-label=Main] >> text=Models")
    page.click("main table >> text=churn")
    page.click("nav.tabs >> text=Rules")
    page.click("text=Make a rule")
    page.fill("[name=name]", "Income moved")
    page.fill("[name=feature]", "income")
    page.fill("[name=threshold]", "0.25")
    page.click("main form button >> text=Save")


def test_a_newcomer_with_a_csv_sees_drift_and_gets_an_e_mail(
    page: Page, installation: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began, mail = time.monotonic(), installation.home / "mail"
    training = tmp_path / "training.csv"
    write_training_file(training)

    log_in(page, installation.home)
    make_a_model_with_a_reference(page, training)
    token = make_a_token(page)
    counts = log_three_days(f"http://127.0.0.1:{installation.port}", token)
    page.goto("/models/churn/drift")
    wait_until(lambda: tells_of(page, "most often income"), seconds=120, what="the drift of income")
    add_an_address(page)
    expect(page.locator(".verdict")).to_contain_text(
        "DRIFTLINE_EMAIL_URL names no mail server", timeout=PATIENCE_MS
    )
    make_a_rule(page)
    wait_until(lambda: len(list(mail.iterdir())) >= 2, what="the e-mail of the incident")
    page.click("nav[aria-label=Main] >> text=Incidents")
    page.click("main table a")

    assert (counts.sent, counts.rejected, counts.dropped) == (2 * DAYS * ROWS_A_DAY + 1, 0, 0)
    assert "Population stability index of income of churn is above 0.25" in page.inner_text(".verdict")
    assert any("churn: psi of income" in subject for subject in subjects_of(mail))
    with capsys.disabled():
        print(f"\n  from the login to the e-mail: {time.monotonic() - began:.0f} s ", end="")


def subjects_of(mail: Path) -> list[str]:
    """Read the subjects, which an e-mail folds where they are long."""
    return [
        message_from_bytes(file.read_bytes(), policy=policy.default)["subject"] for file in mail.iterdir()
    ]
