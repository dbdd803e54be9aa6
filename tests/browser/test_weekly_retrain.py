"""A weekly retrain in one's own pipeline, with approval from an e-mail: set up in a browser as the guide says.

The guide's receiver runs as it stands there, beside a whole installation. The week's moment is one to come within
minutes; the rest takes as long as it takes. With DRIFTLINE_SCREENSHOTS each step leaves a picture.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, expect
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from monitors.workflows.models import ACTIVE_STATES
from tests.browser.conftest import WIDE
from tests.browser.newcomer_files import NUMBERS, Row, applications
from tests.browser.people import add_an_address, log_in, mail_about, text_of
from tests.browser.pictures import save_picture
from tests.flows.installation.running import Installation
from tests.monitors.workflows.remote.guide_receiver import guide_receiver
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DAYS, ROWS_A_DAY, ROWS_A_REQUEST = 10, 400, 100


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[str]:
    with guide_receiver(tmp_path, SECRET) as address:
        yield address


class Callers:
    """Those who ask the model, and send at once what came of it."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._requests = 0

    def ask(self, rows: list[Row], times: list[datetime]) -> None:
        for first in range(0, len(rows), ROWS_A_REQUEST):
            part = rows[first : first + ROWS_A_REQUEST]
            self._ask(part, times[first : first + ROWS_A_REQUEST])

    def ask_now(self) -> None:
        rows = applications(ROWS_A_REQUEST, seed=1_000 + self._requests)
        self.ask(rows, [datetime.now(UTC)] * len(rows))

    def _ask(self, rows: list[Row], times: list[datetime]) -> None:
        self._requests += 1
        key, here = f"w{self._requests}", f"http://127.0.0.1:{self._installation.port}"
        tensors = [
            {"name": name, "datatype": "FP32", "shape": [len(rows), 1], "data": [row[name] for row in rows]}
            for name in NUMBERS
        ]
        facts = {
            "driftline_id": key,
            "driftline_timestamp": json.dumps([time.isoformat() for time in times]),
        }
        headers = {"Authorization": f"Bearer {self._installation.token}"}
        with httpx.Client(base_url=here, headers=headers, timeout=60) as client:
            answer = client.post("/v2/models/loans/infer", json={"inputs": tensors, "parameters": facts})
            assert answer.status_code == 200, answer.text
            labels = [
                {"id": f"{key}:{place}", "label": str(row["approved"])} for place, row in enumerate(rows)
            ]
            taken = client.post("/api/v1/models/loans/labels", json={"labels": labels})
            assert taken.status_code == 200, taken.text


def a_poor_model() -> bytes:
    """Train on labels in a wrong order, so that the model knows nothing; an input for each column."""
    rows = pd.DataFrame(applications(2_000, seed=0))[list(NUMBERS)]
    labels = np.random.default_rng(1).integers(0, 2, len(rows))
    encode = make_column_transformer((SimpleImputer(), list(NUMBERS)))
    model = make_pipeline(encode, LogisticRegression()).fit(rows, labels)
    types = [(name, FloatTensorType([None, 1])) for name in NUMBERS]
    return bytes(to_onnx(model, initial_types=types, options={"zipmap": False}).SerializeToString())


def serve_a_poor_model(installation: Installation, callers: Callers) -> None:
    """What is there before: a served model with ten days of requests and labels."""
    metadata = {
        "features": [{"name": name, "type": "float"} for name in NUMBERS],
        "classes": ["0", "1"],
        "positive_class": "1",
    }
    with closing(installation.api()) as api:
        api.post(
            "/api/v1/models",
            {"name": "loans", "task": "binary", "objectives": {"label_lag_hours": 0}},
        )
        api.upload(
            "/api/v1/models/loans/versions",
            a_poor_model(),
            version=b"1",
            metadata=json.dumps(metadata).encode(),
        )
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for number in range(DAYS):
        day = midnight - timedelta(days=DAYS - number)
        rows = applications(ROWS_A_DAY, seed=number + 1)
        callers.ask(rows, [day + timedelta(seconds=216 * place) for place in range(len(rows))])


def test_is_set_up_and_approved_from_an_e_mail(
    page: Page, installation: Installation, receiver: str, capsys: pytest.CaptureFixture[str]
) -> None:
    callers, steps, began = Callers(installation), list[str](), 0.0

    def look(name: str) -> None:
        steps.append(f"{name} {time.monotonic() - began:.0f} s")
        save_picture(page, f"weekly retrain {len(steps):02d} {name}", WIDE)

    serve_a_poor_model(installation, callers)
    log_in(page, installation)
    began = time.monotonic()
    add_an_address(page)
    set_up_pipeline(page, receiver)
    look("pipeline")
    set_up_week(page)
    look("workflow")
    set_up = time.monotonic() - began

    run = wait_until(lambda: newest_run(installation), seconds=240, what="the run of the schedule")
    assert run["trigger"].startswith("schedule ")
    mail = wait_until(
        lambda: _ask_and_look(callers, installation), seconds=600, what="the e-mail that asks for approval"
    )
    page.goto(cast(Any, re.search(r"https?://\S+confirm=approve", text_of(mail)))[0])
    look("asked to approve")
    page.click("main form button >> text=Approve")
    expect(page.locator("main")).to_contain_text("Approved; the run goes on")
    wait_until(
        lambda: (newest_run(installation) or {})["state"] == "promoted", seconds=120, what="the promotion"
    )
    page.goto("/models/loans/workflow")
    look("promoted")

    with capsys.disabled():
        print(f"\n  weekly retrain: set up in {set_up:.0f} s; {', '.join(steps)} ", end="")
    expect(page.locator("main table")).to_contain_text("Promoted")
    with closing(installation.api()) as api:
        assert api.get("/api/v1/models/loans/deployment")["champion"] != "1"


def set_up_pipeline(page: Page, receiver: str) -> None:
    """As the guide says: the page Workflow, the trainer remote, Set up the pipeline."""
    page.goto("/models/loans/")
    page.click("nav.tabs >> text=Workflow")
    page.click("nav[aria-label=Trainers] >> text=remote")
    page.click("main >> text=Set up the pipeline")
    page.click("nav[aria-label='Kinds of pipelines'] >> text=HTTP")
    page.fill("[name=url]", receiver)
    page.fill("[name=remote_secret]", SECRET)
    page.check("[name=is_used]")
    page.click("main form button >> text=Save")
    expect(page.locator("main")).to_contain_text("the next run uses it")


def set_up_week(page: Page) -> None:
    """Choose a moment of this weekday that comes within two minutes, fewer pairs, and the whole traffic at once."""
    due = datetime.now(UTC) + timedelta(minutes=2)
    page.click("nav.tabs >> text=Workflow")
    page.fill("[name=schedule]", f"{due.minute} {due.hour} * * {due.isoweekday() % 7}")
    page.fill("[name=pairs]", "500")
    page.fill("[name=rollout_steps]", "")
    page.fill("[name=rollout_watch_hours]", "0")
    page.click("main form button >> text=Save")
    expect(page.locator("main")).to_contain_text("The schedule starts the next one at")


def newest_run(installation: Installation) -> dict[str, Any] | None:
    with closing(installation.api()) as api:
        runs = api.get("/api/v1/models/loans/runs")["items"]
    return runs[0] if runs else None


def _ask_and_look(callers: Callers, installation: Installation) -> Any:
    callers.ask_now()
    run = newest_run(installation) or {}
    assert run["state"] in ACTIVE_STATES, run
    return mail_about("confirm=approve", installation.home / "mail")
