"""Post items to the logging API, and read what became of them."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

import httpx

from driftline_client.credentials import client_certificate
from driftline_client.errors import DriftlineError, NotAnswered
from driftline_client.items import rfc3339

PASSING = (408, 425, 429, 502, 503, 504)
"""A later attempt with the same items may be taken."""
MENDABLE = (401, 403, 404, 500)
"""The same items would be taken once a person has mended the token, the address or the server."""
REFUSALS = ("rejected", "conflict", "ambiguous_id")
MAX_BATCH_BYTES = 1_000_000  # below what proxies let through by default: 1 MiB
MAX_RETRY_AFTER_SECONDS = 300.0
POLL_AGAIN_SECONDS = 0.5
MAX_POLL_PAUSE_SECONDS = 5.0
POLL_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Stream:
    """Where items go, and what their list is called there."""

    path: str
    key: str


@dataclass(frozen=True)
class Reply:
    """What became of a post; `status` is None where nobody answered, `code` is the stable name of what was wrong."""

    detail: str = ""
    code: str = ""
    status: int | None = None
    retry_after_s: float = 0.0
    accepted: int = 0
    duplicates: int = 0
    results: Sequence[Mapping[str, Any]] = field(default_factory=list)

    @property
    def is_kept(self) -> bool:
        """Return whether Driftline looked at each item."""
        return not self.code

    @property
    def may_pass(self) -> bool:
        """Return whether it is worth while to send the same items again."""
        return self.status is None or self.status in PASSING

    @property
    def refusals(self) -> list[Mapping[str, Any]]:
        """The results of the items that were not kept."""
        return [result for result in self.results if result.get("status") in REFUSALS]


class ClientFactory:
    """Makes HTTP clients that know the address and the token."""

    def __init__(self, url: str, token: str, timeout_s: float) -> None:
        self.url = url
        self._options: dict[str, Any] = {
            "base_url": url,
            "headers": {"Authorization": f"Bearer {token}"},
            "timeout": timeout_s,
        }
        if (certificate := client_certificate()) is not None:
            self._options["verify"] = certificate
        self._try_out()

    def _try_out(self) -> None:
        """Raise here and now what is wrong with the address, and make httpx import here what it imports late.

        In a thread it would not do: a process forked in the midst of an import waits for it for ever.
        """
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL:
            url = httpx.URL()
        if url.scheme not in ("http", "https") or not url.host:
            raise DriftlineError(
                f"The address is {self.url!r}; give one such as https://driftline.example.org."
            )
        self().close()

    def __call__(self) -> httpx.Client:
        return httpx.Client(**self._options)

    def asynchronous(self) -> httpx.AsyncClient:
        """Make one for asyncio."""
        return httpx.AsyncClient(**self._options)


class Courier:
    """Posts the items of one model over one connection; with a task it makes the model where there is none."""

    def __init__(self, client: httpx.Client, model: str, task: str | None) -> None:
        self._client, self._model, self._task = client, model, task

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.close()

    def post(self, stream: Stream, lines: Sequence[bytes]) -> Reply:
        """Send items, each already JSON, in one request."""
        sent_at = rfc3339(datetime.now(UTC)).encode()
        body = b'{"%b":[%b],"sent_at":"%b"}' % (stream.key.encode(), b",".join(lines), sent_at)
        try:
            response = making_model(
                self._client, self._model, self._task, lambda: self._post(stream.path, body)
            )
        except httpx.HTTPError as error:
            return Reply(f"{type(error).__name__}: {error}", "no_answer")
        return read_reply(response)

    def _post(self, path: str, body: bytes) -> httpx.Response:
        return self._client.post(path, content=body, headers={"Content-Type": "application/json"})


def ask(client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
    """Send a request once; raises DriftlineError where it is not answered with success."""
    try:
        response = client.request(method, path, **options)
    except httpx.TransportError as error:
        raise unanswered(error) from error
    return checked(response)


def poll(client: httpx.Client, path: str, **options: Any) -> dict[str, Any]:
    """Read a JSON object, for a minute again where Driftline is not there or busy, as while it starts anew."""
    backoff, deadline = (
        Backoff(POLL_AGAIN_SECONDS, MAX_POLL_PAUSE_SECONDS),
        monotonic() + POLL_PATIENCE_SECONDS,
    )
    while True:
        try:
            return json_object(ask(client, "GET", path, **options))
        except DriftlineError as error:
            if (error.status is not None and error.status not in PASSING) or monotonic() > deadline:
                raise
            sleep(backoff.next_s(0.0))


def unanswered(error: httpx.TransportError) -> NotAnswered:
    """Return the error that nobody answered."""
    return NotAnswered(f"Driftline does not answer ({type(error).__name__}: {error}).")


def checked(response: httpx.Response) -> httpx.Response:
    """Return an answer that is a success; raises DriftlineError with what another says."""
    if not response.is_success:
        raise DriftlineError(problem(response), response.status_code)
    return response


class Backoff:
    """How long to wait before each next attempt: longer each time, and not all clients at the same moment."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._delay_s, self._longest_s = first_s, longest_s

    def next_s(self, retry_after_s: float) -> float:
        """Return the seconds to wait, which are never fewer than the server asks for."""
        jittered = self._delay_s * random.uniform(0.5, 1)
        self._delay_s = min(self._delay_s * 2, self._longest_s)
        return retry_after_s + jittered


def making_model(
    client: httpx.Client, name: str, task: str | None, send: Callable[[], httpx.Response]
) -> httpx.Response:
    """Send a request, and again after making the model where there is none and its `task` is known.

    Gives the answer, or why the model could not be made. That another process has made it meanwhile is as good.
    """
    answer = send()
    if answer.status_code != 404 or task is None:
        return answer
    created = client.post("/api/v1/models", json={"name": name, "task": task})
    return send() if created.is_success or created.status_code == 409 else created


def read_reply(response: httpx.Response) -> Reply:
    """Read an answer of the logging API, whoever gave it."""
    answer = json_object(response)
    if not response.is_success:
        code = str(answer.get("code") or f"http_{response.status_code}")
        return Reply(problem(response), code, response.status_code, _retry_after_s(response))
    if "accepted" not in answer:
        detail = f"{response.url} answers {response.text[:80]!r}, which is not Driftline's logging API"
        return Reply(detail, "not_driftline", response.status_code)
    return Reply(
        status=response.status_code,
        accepted=int(answer["accepted"]),
        duplicates=int(answer.get("duplicates", 0)),
        results=answer.get("results", []),
    )


def problem(response: httpx.Response) -> str:
    """Return what an error answer says: problem details, the inference protocol's shape, or plain text."""
    answer = json_object(response)
    detail = answer.get("detail") or answer.get("error") or response.text[:200]
    if response.is_redirect:
        detail = f"it redirects to {response.headers.get('Location')}; set DRIFTLINE_URL to that server"
    return f"HTTP {response.status_code}: {detail}"


def json_object(response: httpx.Response) -> dict[str, Any]:
    """Read an answer's JSON object; empty where it is none."""
    try:
        answer = response.json()
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _retry_after_s(response: httpx.Response) -> float:
    """Read how many seconds the server asks for, as a number or a date; 0 where it does not say."""
    text = response.headers.get("Retry-After", "")
    try:
        seconds = float(text)
    except ValueError:
        seconds = _seconds_until(text)
    return min(max(0.0, seconds), MAX_RETRY_AFTER_SECONDS)  # in this order nan, which is a float too, gives 0


def _seconds_until(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return 0.0
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
