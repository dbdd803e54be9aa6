"""An evidence pack in a real browser: asked for, made, looked at in its frame."""

import pytest
from playwright.sync_api import expect

from monitors.reports.building import build
from monitors.reports.models import Report
from tests.browser.conftest import PHONE, WIDE, SignIn
from tests.browser.pictures import save_picture
from tests.worlds.drifted import World

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_a_pack_is_asked_for_made_and_read(sign_in: SignIn, world: World) -> None:
    page = sign_in()
    page.goto(f"/models/{world.model.name}/reports")
    page.fill("#id_first", "2026-01-04")
    page.fill("#id_last", "2026-02-01")
    save_picture(page, "reports with evidence", WIDE)
    page.click("text=Make the evidence pack")
    expect(page.locator("text=The evidence pack is being made")).to_be_visible()

    build(Report.objects.get(preset="evidence").pk)
    page.reload()

    frame = page.frame_locator("iframe.report")
    expect(frame.locator("h1")).to_have_text(f"Evidence on {world.model.name}")
    expect(frame.locator("h2 >> text=What was not monitored")).to_be_attached()
    save_picture(page, "evidence pack", WIDE)

    page.set_viewport_size({"width": PHONE, "height": 800})
    root = frame.locator("html")
    assert root.evaluate("one => one.scrollWidth <= one.clientWidth")
