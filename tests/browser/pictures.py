"""Pictures of pages."""

import os
from pathlib import Path

from playwright.sync_api import Page

SHOTS = os.environ.get("DRIFTLINE_SCREENSHOTS", "")


def save_picture(page: Page, name: str, width: int) -> None:
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{SHOTS}/{name.replace(' ', '-')}-{width}.png", full_page=True)
