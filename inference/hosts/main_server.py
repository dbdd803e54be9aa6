"""The main server as a host reaches it: over HTTPS, with the host's token, and plans that are checked by its key."""

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
import urllib3

from driftline.base.errors import UNREADABLE
from driftline.base.keys.key_succession import KEY_HEADER, KeySuccessions
from inference.hosts.plan_key import PlanKey
from inference.hosts.published_plan import SIGNATURE_HEADER, HostPlan
from inference.hosts.tokens import HostToken

TIMEOUT_SECONDS = 10.0


class MainServerFailed(Exception):
    """The main server could not be asked; the text says why."""


class MainServer:
    """Calls the main server at `url`."""

    def __init__(self, url: str, token: HostToken, home: Path, *, ca: str | None = None) -> None:
        """Prepare to call it; `ca` is a PEM file of who signed its certificate, where that is nobody known.

        The home of this host has the key that signs plans, where another one succeeded that of the token.

        Raises ValueError where the token would be sent in the clear.
        """
        check_url(url)
        self._base = f"{url.rstrip('/')}/api/v1/serving-hosts/self"
        self._token = token
        self._pinned = PlanKey(home, token)
        self._etag = ""
        self._session = requests.Session()
        self._verify = ca or True
        """Given with each request, as variables of the environment count more than a session's."""

    def pull(self) -> HostPlan | None:
        """Read the plan; None where it did not change. Raises MainServerFailed, or OSError as `_check` does."""
        headers = {"If-None-Match": self._etag, KEY_HEADER: self._pinned.text}
        with self._call("GET", "plan", headers=headers) as answer:
            if answer.status_code == 304:
                return None
            self._check(answer.content, answer.headers.get(SIGNATURE_HEADER, ""))
            try:
                pulled = msgspec.json.decode(answer.content, type=HostPlan)
            except UNREADABLE as error:
                raise MainServerFailed(
                    f"The plan cannot be read ({error}); is this an older version?"
                ) from error
            self._etag = answer.headers.get("ETag", "")
            return pulled

    def _check(self, content: bytes, signature: str) -> None:
        """Raise MainServerFailed unless the pinned key signed a plan, or one that succeeded it, which is pinned then.

        Raises OSError where it cannot be pinned on the disk.
        """
        if self._pinned.verifies(content, signature):
            return
        with self._call("GET", "key-successions") as answer:
            try:
                found = msgspec.json.decode(answer.content, type=KeySuccessions)
            except UNREADABLE as error:
                raise MainServerFailed(f"The succession of signing keys cannot be read ({error}).") from error
        self._pinned.follow(found.successions)
        if not self._pinned.verifies(content, signature):
            raise MainServerFailed(
                "The plan is signed neither by the key of this host's token nor by one that succeeded it; make another "
                "token on the main server: manage.py serving_host add NAME."
            )

    def close(self) -> None:
        """End the connections."""
        self._session.close()

    def forget(self) -> None:
        """Make the next pull bring the whole plan."""
        self._etag = ""

    @contextmanager
    def download(self, sha256: str) -> Iterator[Any]:
        """Yield the bytes of a file as a stream. Raises MainServerFailed."""
        with self._call(
            "GET", f"artifacts/{sha256}", stream=True, headers={"Accept-Encoding": "identity"}
        ) as answer:
            yield answer.raw

    def send_status(self, status: bytes) -> None:
        """Report how this host does. Raises MainServerFailed."""
        with self._call("POST", "status", data=status):
            pass

    @contextmanager
    def _call(self, method: str, path: str, **arguments: Any) -> Iterator[requests.Response]:
        try:
            with self._session.request(
                method,
                f"{self._base}/{path}",
                auth=self._sign_in,
                timeout=TIMEOUT_SECONDS,
                verify=self._verify,
                allow_redirects=False,
                **arguments,
            ) as answer:
                if answer.status_code not in (200, 204, 304):
                    raise MainServerFailed(
                        f"{method} {path} was answered {answer.status_code}: {_detail_of(answer)}"
                    )
                yield answer
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise MainServerFailed(f"{self._base} cannot be reached: {_cause_of(error)}") from error

    def _sign_in(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token; without this an entry of .netrc would take its place."""
        request.headers["Authorization"] = f"Bearer {self._token.text}"
        return request


def _detail_of(answer: requests.Response) -> str:
    """Return the sentence of a problem, else how the answer begins, as of a proxy in between."""
    try:
        return str(answer.json()["detail"])[:200]
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]


def _cause_of(error: BaseException) -> str:
    """Return what lies at the bottom of an error, as the libraries in between tell little."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error) or type(error).__name__


def check_url(url: str) -> None:
    """Raise ValueError unless an address keeps the token secret: HTTPS, or this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and _is_here(parts.hostname or ""):
        return
    raise ValueError(f"{url} is no address of a main server: use https://, as plans hold keys of the log.")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
