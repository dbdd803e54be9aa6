"""What an Apprise plugin gets in place of `requests`: its requests keep to the rules of every message that is sent.

A plugin calls `requests.post` and the like in its module. There stands a `PluginRequests`, which sends by the
transport of webhooks: to a checked and pinned address, without redirects, with the certificate checked, and read up to
a cap. A call outside `recorded` is refused, so none gets past it; within `first_url` it only says where it leads.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import requests

from driftline.base.outbound.targets import UrlNotAllowed, parse_target
from driftline.base.outbound.transport import (
    Line,
    checked_answer,
    named_failures,
    open_session,
    read_answer,
)
from monitors.alerts.channels.base import DeliveryFailed, Receipt
from monitors.alerts.channels.webhook.transport import delivery_failures

METHODS = ("get", "post", "put", "patch", "delete")
_TAKEN = frozenset({"params", "data", "json", "headers", "auth", "files"})
"""What of a plugin's call is kept; it may not turn off the check of certificates, or wait longer."""
_current = threading.local()


@dataclass
class PluginCalls:
    """The calls of one message: `receipt` is of the last one that was taken, `failure` of the first that was not."""

    line: Line
    receipt: Receipt | None = None
    failure: DeliveryFailed | None = None


class _FirstCall(Exception):
    """Ends a plugin's message at its first call, which is not sent."""


class PluginRequests:
    """The names of `requests` that plugins use. Those that send go over the guarded transport, and no other sends."""

    RequestException = requests.RequestException
    exceptions = requests.exceptions
    codes = requests.codes
    Response = requests.Response

    def __init__(self) -> None:
        for method in METHODS:
            setattr(self, method, partial(self.request, method))

    @staticmethod
    def request(method: str, url: str, **options: Any) -> requests.Response:
        """Make one request. Raises what `requests` does where it fails, as plugins expect."""
        calls: PluginCalls | None = getattr(_current, "calls", None)
        if getattr(_current, "is_rehearsal", False):
            raise _FirstCall(url)
        if calls is None:
            raise requests.RequestException("This plugin may send only while a message is delivered.")
        try:
            return _exchange(calls, method, url, options)
        except DeliveryFailed as failure:
            calls.failure = calls.failure or failure
            raise requests.RequestException(str(failure)) from failure


def _exchange(calls: PluginCalls, method: str, url: str, options: dict[str, Any]) -> requests.Response:
    """Send a request and note what was answered."""
    kept = {name: value for name, value in options.items() if name in _TAKEN}
    kept["headers"] = {**(kept.get("headers") or {}), "Accept-Encoding": "identity"}
    try:
        target = parse_target(url).url
    except UrlNotAllowed as error:
        raise DeliveryFailed(f"url_not_allowed: {error}") from error
    try:
        with delivery_failures(), named_failures(), open_session(calls.line) as session:
            response: requests.Response = session.request(method, target, stream=True, **kept)
            with response:
                body = read_answer(response)
            # only now, as a response that has its content is not closed
            response._content, response._content_consumed = body, True  # type: ignore[attr-defined]
    finally:
        calls.line.close()
    try:
        with delivery_failures():
            answer = checked_answer(response, body)
        calls.receipt = Receipt(answer.status, answer.text)
    except DeliveryFailed as failure:
        calls.failure = calls.failure or failure
    return response


@contextmanager
def recorded(line: Line) -> Iterator[PluginCalls]:
    """Make plugins of this thread send over `line` while the block runs, and note what they are answered."""
    _current.calls = calls = PluginCalls(line)
    try:
        yield calls
    finally:
        del _current.calls


def first_url(notify: Callable[[], Any]) -> str | None:
    """Return where plugins of this thread would send first if `notify` ran, which sends nothing; None if nowhere."""
    _current.is_rehearsal = True
    try:
        notify()
    except _FirstCall as call:
        return str(call)
    finally:
        _current.is_rehearsal = False
    return None


def guard(module: ModuleType) -> None:
    """Make a plugin's module send by the guarded transport alone."""
    if isinstance(vars(module).get("requests"), ModuleType):
        module.requests = PluginRequests()  # type: ignore[attr-defined]
