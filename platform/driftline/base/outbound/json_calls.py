"""One JSON call to a service: over the guarded transport, within a deadline that a worker can wait for."""

import base64
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson

from driftline.base.outbound.targets import UrlNotAllowed, parse_target
from driftline.base.outbound.transport import HOP_HEADER, RequestFailed, exchange

DEADLINE_SECONDS = 10.0
MAX_ID_LENGTH = 200
MAX_ANSWER_BYTES = 4 << 20  # services repeat the order in what they answer


def call(
    method: str, url: str, *, body: Any = None, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Send JSON and return the object that is answered, or an empty one; raises `RequestFailed`."""
    found = _answer(method, url, body, headers)
    return found if isinstance(found, dict) else {}


def call_for_list(
    method: str, url: str, *, body: Any = None, headers: Mapping[str, str] | None = None
) -> list[Any]:
    """Send JSON and return the list that is answered; raises `RequestFailed`, also where that is none."""
    found = _answer(method, url, body, headers)
    if not isinstance(found, list):
        raise RequestFailed("The service answered no list.")
    return found


def create(url: str, *, body: Any, headers: Mapping[str, str]) -> None:
    """Send JSON that makes a run of a name; one that exists already, which 409 says, is left as it is.

    Raises `RequestFailed`.
    """
    try:
        call("POST", url, body=body, headers=headers)
    except RequestFailed as error:
        if error.status != HTTPStatus.CONFLICT:
            raise


def _answer(method: str, url: str, body: Any, headers: Mapping[str, str] | None) -> Any:
    sent = None if body is None else orjson.dumps(body)
    answer = send(method, url, body=sent, headers=headers)
    if not answer.strip():
        return None
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise RequestFailed(f"The service answered no JSON: {answer}") from error


def send(method: str, url: str, *, body: bytes | None, headers: Mapping[str, str] | None) -> str:
    """Send a body as it is and return the text that is answered; raises `RequestFailed`."""
    fixed = {"Accept": "application/json", "Accept-Encoding": "identity", HOP_HEADER: "1"}
    if body is not None:
        fixed["Content-Type"] = "application/json"
    try:
        target = parse_target(url).url
    except UrlNotAllowed as error:
        raise RequestFailed(f"url_not_allowed: {error}") from error
    try:
        return exchange(
            method,
            target,
            body=body,
            headers=fixed | dict(headers or {}),
            deadline=DEADLINE_SECONDS,
            max_bytes=MAX_ANSWER_BYTES,
        ).text
    except ValueError as error:  # of a header that cannot be sent, among them UnicodeError
        raise RequestFailed(f"unsendable_request: {error}") from error


def bearer(secret: str) -> dict[str, str]:
    """Return the header that shows a token, where there is one."""
    return {"Authorization": f"Bearer {secret}"} if secret else {}


def login(secret: str) -> dict[str, str]:
    """Return the header that logs in: with `user:password` as basic authentication has it, else with a token."""
    if ":" in secret:
        return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}
    return bearer(secret)


def value_at(found: Any, *path: str) -> Any:
    """Return what stands in a service's answer below some names, or None."""
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def text_at(found: Any, *path: str) -> str:
    """Return a text of a service's answer; raises `RequestFailed` where it is not there."""
    value = value_at(found, *path)
    if not isinstance(value, str) or not value:
        raise RequestFailed(f"The service's answer has no {'.'.join(path)}.")
    return value


def id_at(found: Any, *path: str) -> str:
    """Return what a service calls its run; raises `RequestFailed` where that is missing or too long to be kept."""
    value = text_at(found, *path)
    if not value.isprintable():
        raise RequestFailed(f"The service's answer has characters as {'.'.join(path)} that nobody can read.")
    if len(value) > MAX_ID_LENGTH:
        raise RequestFailed(
            f"The service's answer has {len(value):,} characters as {'.'.join(path)}; an identifier has at most "
            f"{MAX_ID_LENGTH}."
        )
    return value


def first_at(found: Any, *path: str) -> Any:
    """Return the first item of a list in a service's answer, or None."""
    items = value_at(found, *path)
    return items[0] if isinstance(items, list) and items else None
