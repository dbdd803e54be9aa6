"""An operator finds and does twelve things in the admin, each in at most four clicks."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from driftline.base.accounts.models import AuditEntry, User
from driftline.base.accounts.services import create_token
from driftline.operations.backup.making import MADE
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.models import TouchedPeriod
from inference.prediction_log.sources.dead_letters import RefusedMessage, bury
from inference.prediction_log.sources.kafka.settings import KafkaSettings
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import DeadLetter
from inference.prediction_log.sources.reading.messages import StreamMessage
from inference.prediction_log.sources.services import create_source
from inference.registry.models import DeploymentChange
from monitors.alerts.models import Delivery
from monitors.workflows.models import Run, RunState
from tests.browser.conftest import PHONE, SignIn
from tests.worlds.drifted import World

pytestmark = [pytest.mark.browser, pytest.mark.e2e]

MAX_CLICKS = 4
HIDDEN_COLUMNS = """tables => tables
    .filter(one => getComputedStyle(one.parentElement).overflowX !== "auto"
        && one.scrollWidth > one.parentElement.clientWidth)
    .map(one => one.id)"""
"""Names the tables that are wider than what holds them, and that nobody can scroll."""


class Operator:
    """Counts the clicks of each task, and keeps a picture of where it ended."""

    def __init__(self, page: Page, pictures: Path) -> None:
        self.page, self._pictures = page, pictures
        self.clicks: dict[str, int] = {}
        self._task = ""

    def begin(self, task: str) -> None:
        self._task = task
        self.clicks[task] = 0
        self.page.goto("/admin/")

    def click(self, selector: str) -> None:
        self.clicks[self._task] += 1
        self.page.click(selector)
        self.page.wait_for_load_state()

    def search(self, text: str) -> None:
        """Type into the search of a list, which needs no click."""
        self.page.fill("#searchbar", text)
        self.page.press("#searchbar", "Enter")
        self.page.wait_for_load_state()

    def reads(self, text: str) -> None:
        """See a text on the page, and take the picture."""
        self.page.get_by_text(text).first.wait_for()
        self.page.screenshot(path=self._pictures / f"{len(self.clicks):02} {self._task}.png")

    def first_row(self) -> None:
        self.click("#result_list tbody tr th a")

    def confirms(self, button: str) -> None:
        self.click(f"a:has-text('{button}')")
        self.click("button[name=confirmed]")


@pytest.fixture
def operator(sign_in: SignIn, world: World, tmp_path: Path) -> Operator:
    User.objects.filter(pk=world.owner.pk).update(is_staff=True, is_superuser=True)
    return Operator(sign_in(), tmp_path)


def test_twelve_tasks(operator: Operator, world: World, settings: Any) -> None:
    Delivery.objects.update(state=Delivery.State.FAILED, reason="the receiver answers 500")
    Run.objects.update(state=RunState.RUNNING, finished_at=None)
    token, _ = create_token(project=world.project, name="nightly export", scopes=["read"], actor="ada")
    AuditEntry.objects.create(actor="command line", action=MADE, subject="/backups/2026-11-29")
    letter = add_dead_letter(world, settings)
    DeploymentChange.objects.filter(model=world.model).update(kind="promote", actor="grace@bank.example")

    operator.begin("which message failed and why, and send it again")
    operator.click("#health a:has-text('failed in the last day')")
    operator.reads("the receiver answers 500")
    operator.first_row()
    operator.confirms("Send again")
    operator.reads("is sent again")

    operator.begin("who promoted a version")
    operator.click("#tasks a:has-text('promoted')")
    operator.reads("grace@bank.example")

    operator.begin("why is the queue old")
    operator.reads("no work waits longer than an hour")

    operator.begin("disable the noisy rule")
    operator.click(f"#rules a:has-text('{world.rule.name}')")
    operator.confirms("Disable")
    operator.reads("is disabled")

    operator.begin("which model takes the disk")
    operator.click(f"#disk a:has-text('{world.model.name}')")
    operator.reads(world.model.name)

    operator.begin("cancel a stuck run")
    operator.click("#tasks a:has-text('stuck')")
    operator.first_row()
    operator.confirms("Cancel")
    operator.reads("is cancelled")

    operator.begin("revoke an old token")
    operator.click("#tasks a:has-text('Revoke a token')")
    operator.search("nightly")
    operator.first_row()
    operator.confirms("Revoke")
    operator.reads("is revoked")

    operator.begin("erase a person")
    operator.click("#tasks a:has-text('Erase a person')")
    operator.page.select_option("[name=project]", label=world.project.name)
    operator.page.fill("[name=key]", "person-7")
    operator.page.fill("[name=again]", "person-7")
    operator.click("[name=_save]")
    operator.click("[name=confirmed]")
    operator.reads("was added successfully")

    operator.begin("rebuild a day")
    operator.click("#tasks a:has-text('Rebuild a day')")
    operator.search(world.model.name)
    operator.first_row()
    operator.confirms("Rebuild")
    operator.reads("is rebuilt by the workers")

    operator.begin("who changed the rule")
    operator.click("#tasks a:has-text('who changed')")
    operator.search(world.rule.name)
    operator.reads("rule.update")

    operator.begin("the last backup")
    operator.reads("/backups/2026-11-29")

    operator.begin("a dead letter")
    operator.click("#health a:has-text('wait for somebody')")
    operator.first_row()
    operator.confirms("Retry")
    operator.reads("refused again")

    assert len(operator.clicks) == 12
    assert {task: n for task, n in operator.clicks.items() if n > MAX_CLICKS} == {}
    world.rule.refresh_from_db()
    world.run.refresh_from_db()
    token.refresh_from_db()
    assert (world.rule.enabled, world.run.state) == (False, RunState.CANCELLED)
    assert token.revoked_at is not None
    assert TouchedPeriod.objects.filter(model=world.model).exists()
    assert Erasure.objects.filter(project=world.project).exists()
    assert DeadLetter.objects.filter(pk=letter.pk).exists()


def test_the_first_page_is_not_cut_on_a_phone(sign_in: SignIn, world: World) -> None:
    User.objects.filter(pk=world.owner.pk).update(is_staff=True, is_superuser=True)
    page = sign_in(width=PHONE)

    page.goto("/admin/")

    tables = page.locator("table[id]")
    cut = tables.evaluate_all(HIDDEN_COLUMNS)
    assert (tables.count() >= 3, cut) == (True, [])


def add_dead_letter(world: World, settings: Any) -> DeadLetter:
    """Have a source with a message that it could not read."""
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    source = create_source(
        project=world.project,
        model=world.model,
        actor="ada",
        name="scores",
        what="predictions",
        settings=KafkaSettings(brokers=["127.0.0.1:9999"], topics=["scores"]),
        mapping=SourceMapping(),
    )
    message = StreamMessage(partition="scores/0", offset=7, value=b"{", key=None, time_us=None, headers={})
    bury(source.pk, [RefusedMessage(message, "malformed_json", "It is no JSON.")])
    return DeadLetter.objects.get()
