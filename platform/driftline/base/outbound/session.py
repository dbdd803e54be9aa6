"""A `requests` session for libraries that make their own requests: each goes over the guarded transport."""

from typing import Any

import requests

from driftline.base.outbound.transport import (
    Line,
    RequestFailed,
    named_failures,
    open_session,
    read_answer,
    within_deadline,
)

DEADLINE_SECONDS = 8.0
MAX_ANSWER_BYTES = 1 << 20


class GuardedSession(requests.Session):
    """Sends to checked addresses without redirects, within a deadline, and reads at most a mebibyte of an answer.

    What fails raises `requests.RequestException`, as libraries expect.
    """

    def request(self, method: Any, url: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        """Send one request; options beside params, data, headers and auth are not taken."""
        kept = {name: options.get(name) for name in ("params", "data", "auth")}
        kept["headers"] = {
            **(options.get("headers") or {}),
            "Accept-Encoding": "identity",
        }  # answers are not unpacked
        try:
            return within_deadline(lambda line: _send(line, method, url, kept), DEADLINE_SECONDS)
        except RequestFailed as error:
            raise requests.ConnectionError(str(error)) from error


def _send(line: Line, method: str, url: str, options: dict[str, Any]) -> requests.Response:
    try:
        with (
            named_failures(),
            open_session(line) as session,
            session.request(method, url, stream=True, **options) as response,
        ):
            response._content = read_answer(response, MAX_ANSWER_BYTES)
            response._content_consumed = True  # type: ignore[attr-defined]
            return response
    finally:
        line.close()
