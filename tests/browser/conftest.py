"""A real browser before a live server, on a project with something to see."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.flows.installation.running import Installation
from tests.ports import free_port
from tests.worlds.drifted import PASSWORD, World, furnish

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDE, PHONE = 1440, 390
INSTALLATION_PATIENCE_MS = 60_000

type SignIn = Callable[..., Page]
type Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; the page's own loop lives in this thread, beside which Django must be told that it may query."""
    if CHROMIUM is None:
        pytest.skip("There is no Chromium; install one, such as 'apt-get install chromium'.")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def world(browser: Browser, live_server: Any, tmp_path: Path, settings: Any) -> World:
    settings.HOME = tmp_path
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    return furnish()


@pytest.fixture
def sign_in(browser: Browser, live_server: Any, world: World) -> Iterator[SignIn]:
    """Open a page as the project's owner, through the login form; all that goes wrong in it is gathered."""
    contexts: list[BrowserContext] = []

    def open_page(*, width: int = WIDE, scripts: bool = True, scheme: Scheme = "light") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            java_script_enabled=scripts,
            base_url=live_server.url,
            color_scheme=scheme,
        )
        contexts.append(context)
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.goto("/accounts/login/")
        page.fill("[name=login]", world.owner.email)
        page.fill("[name=password]", PASSWORD)
        page.click("main button")
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A whole installation in a home of its own, up and answering."""
    installation = Installation(tmp_path / "home", free_port())
    try:
        installation.start()
        yield installation
    finally:
        installation.end()


@pytest.fixture
def page(browser: Browser, installation: Installation) -> Iterator[Page]:
    """A page of that installation, before anybody has signed in."""
    context = browser.new_context(
        base_url=f"http://127.0.0.1:{installation.port}", viewport={"width": WIDE, "height": 900}
    )
    context.set_default_timeout(INSTALLATION_PATIENCE_MS)
    yield context.new_page()
    context.close()
