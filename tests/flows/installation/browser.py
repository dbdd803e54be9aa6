"""The operator's browser: signed in at an installation, and what its forms send."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.flows.installation.running import Installation


@contextmanager
def signed_in(installation: Installation) -> Iterator[httpx.Client]:
    """Sign in with the first password; the browser follows redirects and closes with the block."""
    credentials = installation.credentials
    with httpx.Client(
        base_url=f"http://127.0.0.1:{installation.port}", follow_redirects=True, timeout=60
    ) as client:
        form = client.get("/accounts/login/")
        page = submit(client, form, {"login": credentials["email"], "password": credentials["password"]})
        assert not page.url.path.startswith("/accounts/login"), "the first password is not accepted"
        yield client


def submit(client: httpx.Client, page: httpx.Response, fields: dict[str, str]) -> httpx.Response:
    """Send the form of a page with what it holds and what was filled in."""
    held = dict(re.findall(r'name="(csrfmiddlewaretoken|generation)" value="([^"]*)"', page.text))
    answer = client.post(page.url, data=held | fields, headers={"Referer": str(page.url)})
    assert answer.status_code == 200, answer.text[:500]
    return answer
