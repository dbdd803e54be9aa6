"""Downloads that follow redirects, each over the guarded transport; a secret stays with the server that it is for."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urljoin, urlsplit

from driftline.base.outbound.targets import UrlNotAllowed, parse_target
from driftline.base.outbound.transport import (
    Line,
    RequestFailed,
    Writable,
    checked_answer,
    named_failures,
    open_session,
    read_answer,
    within_deadline,
    write_answer,
)

MAX_REDIRECTS = 5
MAX_URL_LETTERS = 4_000
"""Stores sign the addresses that they redirect to, which makes them long."""
HIDDEN = "***"
_REDIRECTS = (301, 302, 303, 307, 308)
_MIN_SECRET_LETTERS = 8  # of a value in an address: shorter ones are words that messages need


def download_redirected(
    url: str,
    target: Writable,
    *,
    headers: Mapping[str, str],
    secret_headers: Mapping[str, str],
    max_bytes: int,
    deadline: float,
) -> Mapping[str, str]:
    """Write a file to `target`, at most its first `max_bytes`, and return the headers of the first answer.

    `secret_headers` go to the server of `url` alone, not to one that it redirects to. Raises `RequestFailed`,
    also for a redirect to what must not be called or from https to http; its text holds no query of an address.
    """
    return within_deadline(
        lambda line: _follow(url, target, dict(headers), dict(secret_headers), max_bytes, line), deadline
    )


def _follow(
    url: str,
    target: Writable,
    headers: dict[str, str],
    secret_headers: dict[str, str],
    max_bytes: int,
    line: Line,
) -> Mapping[str, str]:
    first: Mapping[str, str] | None = None
    is_at_home = True
    for _ in range(MAX_REDIRECTS + 1):
        sent = headers | (secret_headers if is_at_home else {})
        try:
            answered, status = _get(url, target, sent, max_bytes, line)
        except RequestFailed as error:
            raise _without_query(error, url) from None
        first = answered if first is None else first
        if status not in _REDIRECTS:
            return first
        following = _next(url, answered.get("location", ""), status)
        is_at_home = is_at_home and _server(following) == _server(url)
        url = following
    raise RequestFailed(
        f"redirect_refused: more than {MAX_REDIRECTS} redirects follow each other; use the final URL",
        status=status,
    )


def _get(
    url: str, target: Writable, headers: dict[str, str], max_bytes: int, line: Line
) -> tuple[Mapping[str, str], int]:
    """Return the headers and status of an answer of 2xx, which is written, or of a redirect."""
    try:
        with (
            named_failures(),
            open_session(line) as session,
            session.get(url, headers=headers, stream=True) as response,
        ):
            status = response.status_code
            if status not in _REDIRECTS:
                if not 200 <= status < 300:
                    checked_answer(response, read_answer(response))
                write_answer(response, target, max_bytes)
            return response.headers, status
    finally:
        line.close()


def _next(url: str, location: str, status: int) -> str:
    """Return where a redirect leads, in the form in which it is requested."""
    if not location:
        raise RequestFailed(f"redirect_refused: the answer {status} says not where to", status=status)
    try:
        target = parse_target(urljoin(url, location), max_length=MAX_URL_LETTERS)
    except (UrlNotAllowed, ValueError) as error:
        reason = RequestFailed(f"redirect_refused: {error}", status=status)
        raise _without_query(reason, location) from None
    if urlsplit(url).scheme == "https" and not target.encrypted:
        raise RequestFailed(f"redirect_refused: from https to http, at {target.host}", status=status)
    return target.url


def _server(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _without_query(error: RequestFailed, url: str) -> RequestFailed:
    """Hide what an address holds behind its `?`, which may let its reader in, from the people who see the reason."""
    return RequestFailed(without_query(str(error), url), status=error.status, retry_after=error.retry_after)


def without_query(text: str, url: str) -> str:
    """Replace the query of an address in a text, and each of its longer values."""
    query = url.partition("?")[2].partition("#")[0]
    values = {one.partition("=")[2] for one in query.split("&")} | {value for _, value in parse_qsl(query)}
    hidden = {one for one in values if len(one) >= _MIN_SECRET_LETTERS} | ({query} if query else set())
    for one in sorted(hidden, key=len, reverse=True):
        text = text.replace(one, HIDDEN)
    return text
