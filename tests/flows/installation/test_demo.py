"""The first story of the demo on a whole installation: quiet weeks, an e-mail that says why, a roll-back."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from html import unescape
from typing import Any

import httpx
import pytest

from driftline.demo.api_client import Api
from driftline.demo.visits import MODEL
from tests.flows.installation.browser import signed_in, submit
from tests.flows.installation.conftest import Tell
from tests.flows.installation.running import MANAGE, Installation
from tests.waiting import wait_until

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

STORY_SECONDS = 900.0


@pytest.fixture
def story(installation: Installation) -> Iterator[subprocess.Popen[bytes]]:
    """The demo as `up --demo visits` runs it."""
    log = (installation.home.parent / "demo.log").open("ab")
    with (
        log,
        subprocess.Popen(
            [sys.executable, str(MANAGE), "demo", "--play", "visits"],
            env=installation.environment,
            stdout=log,
            stderr=log,
        ) as playing,
    ):
        yield playing
        playing.terminate()


@pytest.fixture
def browser(installation: Installation) -> Iterator[httpx.Client]:
    with signed_in(installation) as client:
        yield client


def first_incident(api: Api) -> dict[str, Any] | None:
    """The oldest incident of the story's model, once its e-mail was sent."""
    found = api.find(f"/api/v1/incidents?model={MODEL.name}") or {"items": []}
    if not found["items"]:
        return None
    incident: dict[str, Any] = api.get(f"/api/v1/incidents/{found['items'][-1]['id']}")
    return incident if any(one["state"] == "sent" for one in incident["deliveries"]) else None


def received(installation: Installation) -> list[EmailMessage]:
    parser = BytesParser(EmailMessage, policy=policy.default)
    return [parser.parsebytes(path.read_bytes()) for path in sorted((installation.home / "mail").iterdir())]


def first_mail_about(model: str, installation: Installation) -> str:
    """The text of the first e-mail that names a model; other tests get theirs in the same folder."""
    texts = (str(mail.get_body(("plain",)).get_content()) for mail in received(installation))  # type: ignore[union-attr]
    return next(text for text in texts if model in text)


def test_a_release_that_loses_a_column_is_noticed_explained_and_rolled_back(
    installation: Installation, story: subprocess.Popen[bytes], browser: httpx.Client, tell: Tell
) -> None:
    with closing(installation.api()) as api:
        incident = wait_until(lambda: first_incident(api), seconds=STORY_SECONDS, what="the e-mail")

        text = first_mail_about(MODEL.name, installation)
        broken = re.search(r"missing values in chronic_diseases: .*", text)
        assert broken, text
        assert "nearly all where plan:free" in broken.group()
        assert re.search(r"since \d+ \w+ 06:00 UTC", broken.group())
        assert re.search(r"Quality: ROC AUC where plan:free 0\.\d+ \(95% interval 0\.\d+ to 0\.\d+, n=", text)
        assert "champion 1 to 2" in text

        page = browser.get(f"/incidents/{incident['id']}")
        [way_back] = re.findall(r'href="([^"]*do=rollback[^"]*)"', page.text)
        asked = browser.get(unescape(way_back))
        answer = submit(browser, asked, {"reason": "the release lost a column"})
        assert answer.url.path.endswith(f"/incidents/{incident['id']}")

        wait_until(
            lambda: api.get(f"/api/v1/incidents/{incident['id']}")["status"] == "resolved",
            seconds=STORY_SECONDS,
            what="the end of the incident",
        )
    assert story.poll() is None
    table = " ".join(browser.get("/demo").text.split())
    assert "1 fault planted: 1 found, 0 missed, 1 with the right cause, 0 false alarms" in table
    tell(re.search(r"Slowest notification: [\d.]+ s", table).group())  # type: ignore[union-attr]
