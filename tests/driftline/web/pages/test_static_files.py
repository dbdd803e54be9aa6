"""Static files reach a browser whole, in part and not again, without a warning in the log."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.handlers.asgi import ASGIHandler

type Fetch = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
def fetch(settings: Any) -> Fetch:
    """Ask Django, as an ASGI server does, for the styles of the pages."""
    settings.MIDDLEWARE = ["driftline.web.middleware.static_files.StaticFiles"]
    transport = httpx.ASGITransport(app=ASGIHandler())

    async def ask(method: str = "GET", **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as browser:
            return await browser.request(method, "/static/driftline.css", headers=headers)

    return ask


@pytest.fixture
def styles(settings: Any) -> bytes:
    return (Path(settings.STATICFILES_DIRS[0]) / "driftline.css").read_bytes()


async def test_a_file_is_sent_whole(fetch: Fetch, styles: bytes) -> None:
    answer = await fetch()

    assert (answer.status_code, answer.content) == (200, styles)
    assert answer.headers["Content-Type"].startswith("text/css")


async def test_a_file_is_sent_in_part(fetch: Fetch, styles: bytes) -> None:
    answer = await fetch(Range="bytes=10-19")

    assert (answer.status_code, answer.content) == (206, styles[10:20])


async def test_a_file_that_a_browser_has_is_not_sent_again(fetch: Fetch) -> None:
    first = await fetch()

    again = await fetch(**{"If-None-Match": first.headers["ETag"]})

    assert (again.status_code, again.content) == (304, b"")


async def test_the_head_of_a_file_says_its_length(fetch: Fetch, styles: bytes) -> None:
    answer = await fetch("HEAD")

    assert (answer.headers["Content-Length"], answer.content) == (str(len(styles)), b"")
