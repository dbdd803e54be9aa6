"""Identity providers as processes, and a person's browser that goes between one and Driftline."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import urljoin

import requests

from tests.ports import free_port
from tests.waiting import wait_until

SOURCES = Path(__file__).parent
CHECKOUT = SOURCES.parents[1]
SECRET = "a secret of thirty-two characters"
MAX_STEPS = 20
_FORM = re.compile(r'<form[^>]*action="([^"]+)"[^>]*>(.*?)</form>', re.DOTALL)
_HIDDEN = re.compile(r'<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"')


class Provider:
    """One that speaks OpenID Connect; it runs until its block ends, and its people can be changed meanwhile."""

    protocol: ClassVar[str] = "oidc"
    program: ClassVar[tuple[str | Path, ...]] = ("node", SOURCES / "provider.mjs")

    def __init__(self, folder: Path, driftline: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._people, self._log, self._driftline = folder / "people.json", folder / "provider.log", driftline
        self.set_people({})

    @classmethod
    @contextmanager
    def running(cls, folder: Path, driftline: str) -> Iterator[Self]:
        subprocess.run([SOURCES / "install", cls.protocol], check=True)
        provider = cls(folder, driftline)
        with provider._log.open("wb") as log:
            command = [*cls.program, str(provider.port), driftline, provider._people]
            process = subprocess.Popen(command, cwd=CHECKOUT, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: provider._is_ready(process), what="the start of the identity provider")
            yield provider
        finally:
            process.kill()
            process.wait()

    def set_people(self, people: dict[str, dict[str, Any]]) -> None:
        """Say who may sign in, with which claims."""
        self._people.write_text(json.dumps(people))

    def _is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, self._log.read_text()
        return "ready" in self._log.read_text()


class SamlProvider(Provider):
    """One that speaks SAML: pysaml2."""

    protocol = "saml"
    program = (CHECKOUT / ".sso/saml/bin/python", "-W", "ignore", SOURCES / "saml_provider.py")


class Browser(requests.Session):
    """Follows redirects and sends the provider's forms, as a person would who types their name there."""

    def __init__(self, driftline: str, name: str, protocol: str = "oidc") -> None:
        super().__init__()
        self._driftline, self._name = driftline, name
        self._start = f"{driftline}/accounts/{protocol}/company/login/"

    def sign_in(self) -> requests.Response:
        """Press the button of Driftline's sign-in, and go on until the provider asks nothing more."""
        return self._through_forms(self.get(self._start))

    def fetch_answer(self) -> dict[str, str]:
        """Sign in at a provider that posts its answer, and return what its page would have this browser post."""
        page = self._through_forms(self.get(self._start), until="SAMLResponse")
        return {name: unescape(value) for name, value in _HIDDEN.findall(page.text)}

    def sign_out(self) -> requests.Response:
        """Sign out of Driftline, and of the provider by the link that is shown then."""
        form = self.get(f"{self._driftline}/accounts/logout/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.text)
        assert token is not None, form.text
        page = self.post(form.url, {"csrfmiddlewaretoken": token[1]}, headers={"Referer": form.url})
        link = re.search(r'href="([^"]+)">Sign out of', page.text)
        assert link is not None, page.text
        return self._through_forms(self.get(unescape(link[1])), extra={"logout": "yes"})

    def leave(self, provider: Provider) -> None:
        """Sign out at the provider, without a word to Driftline."""
        self._through_forms(self.get(f"{provider.url}/session/end"), extra={"logout": "yes"})

    def is_asked_who_they_are(self) -> bool:
        """Return whether the provider asks for a name again."""
        return 'name="login"' in self.get(self._start).text

    def may_read(self, path: str) -> bool:
        """Return whether a page of Driftline opens."""
        return self.get(f"{self._driftline}{path}", allow_redirects=False).status_code == 200

    def _through_forms(
        self, page: requests.Response, extra: dict[str, str] | None = None, *, until: str = "no such field"
    ) -> requests.Response:
        for _ in range(MAX_STEPS):
            form = _FORM.search(page.text)
            if page.url.startswith(self._driftline) or form is None or f'name="{until}"' in form[2]:
                return page
            fields = {name: unescape(value) for name, value in _HIDDEN.findall(form[2])}
            if 'name="login"' in form[2]:
                fields |= {"login": self._name, "password": "any"}
            page = self.post(urljoin(page.url, unescape(form[1])), fields | (extra or {}))
        raise AssertionError(f"the provider asks for ever: {page.text}")
