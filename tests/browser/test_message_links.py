"""From the mail to the act: one click in the message and one on the page that it opens, without scripts too."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from monitors.alerts.models import Delivery, Incident, Silence
from monitors.alerts.sending.links import Act
from tests.browser.accessibility import serious_faults
from tests.browser.conftest import PHONE, SCHEMES, WIDE, Scheme, SignIn
from tests.browser.pictures import save_picture
from tests.worlds.drifted import PASSWORD, World

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

MAIL = 640
type Open = Callable[..., Page]


@pytest.fixture
def mail(world: World, tmp_path: Path, live_server: Any) -> Path:
    """The HTML part of the first message of the incident, with links to the running server."""
    delivery = Delivery.objects.filter(incident=world.incident, channel__kind="email").order_by("pk")[0]
    path = tmp_path / "mail.html"
    path.write_text(re.sub(r"http://[^/\"]+/p/", f"{live_server.url}/p/", delivery.html))
    return path


@pytest.fixture
def stranger(browser: Browser, live_server: Any) -> Iterator[Open]:
    """A browser in which nobody has signed in."""
    contexts: list[BrowserContext] = []

    def open_page(*, width: int = MAIL, scheme: Scheme = "light") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, java_script_enabled=False, color_scheme=scheme
        )
        contexts.append(context)
        context.set_default_timeout(10_000)
        return context.new_page()

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [MAIL, PHONE])
def test_the_mail_fits_and_names_each_act(width: int, scheme: Scheme, stranger: Open, mail: Path) -> None:
    page = stranger(width=width, scheme=scheme)
    page.goto(f"file://{mail}")
    save_picture(page, f"mail {scheme}", width)

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    words = page.locator("a[href*='/act/']").all_inner_texts()
    assert words == ["Acknowledge", "Snooze for a day", "Silence the model", "Assign to me"]


def test_acknowledging_is_one_click_and_one_confirmation(stranger: Open, mail: Path) -> None:
    page = stranger()
    page.goto(f"file://{mail}")

    page.click("text=Acknowledge")
    assert Incident.objects.get().status == "open", "opening the link did nothing"
    page.click("main button")

    assert Incident.objects.get().status == "acknowledged"
    assert "This is done already: Acknowledged by somebody with a link" in page.inner_text("main")


def test_silencing_and_assigning_are_one_click_and_one_confirmation_of_who_is_signed_in(
    sign_in: SignIn, world: World
) -> None:
    page = sign_in(scripts=False)
    page.goto(world.link_of(Act.ASSIGN))
    page.click("main button")
    silences = Silence.objects.count()
    page.goto(world.link_of(Act.SILENCE))
    page.click("main button")

    assert Incident.objects.get().assignee == world.owner
    assert Silence.objects.count() == silences + 1
    assert page.url.endswith(f"/incidents/{world.incident.pk}")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_the_acts_of_an_incident_fit_and_read_well(
    width: int, scheme: Scheme, sign_in: SignIn, world: World
) -> None:
    page = sign_in(width=width, scheme=scheme)
    page.goto(world.pages["incident"])

    page.click("text=Assign, snooze, or say what it was")
    save_picture(page, f"acts {scheme}", width)

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert serious_faults(page) == []


def test_who_has_to_sign_in_is_led_back_to_the_link(stranger: Open, world: World, live_server: Any) -> None:
    page = stranger()
    page.goto(live_server.url + world.link_of(Act.ASSIGN))
    page.click("text=Sign in to go on")
    page.fill("[name=login]", world.owner.email)
    page.fill("[name=password]", PASSWORD)
    page.click("main button")

    page.click("main button:has-text('Assign to me')")

    assert Incident.objects.get().assignee == world.owner


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_of_a_link_reads_well_for_who_is_not_signed_in(
    scheme: Scheme, browser: Browser, world: World, live_server: Any
) -> None:
    context = browser.new_context(viewport={"width": PHONE, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    for act in (Act.ACKNOWLEDGE, Act.SILENCE):
        page.goto(live_server.url + world.link_of(act))
        save_picture(page, f"link {act} {scheme}", PHONE)

        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
        assert serious_faults(page) == []
    context.close()
