"""A version that another server answers, with the interface of a model in memory: arrays in, arrays out."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import orjson

from driftline.base.outbound.rules import OutboundRules
from inference.protocol.hops import HOPS, MAX_HOPS
from inference.runtime.remote.circuit_breaker import CircuitBreaker, State
from inference.runtime.remote.connections import Call, Connections, UpstreamReply
from inference.runtime.remote.credentials import CredentialUnreadable, open_headers
from inference.runtime.remote.errors import CallEnded, UpstreamFailed, ValuesRefused
from inference.runtime.remote.protocols import PROTOCOLS
from inference.runtime.remote.retry_budget import RetryBudget
from inference.runtime.session import Array, ModelRefused, RunOptions
from inference.signatures import EndpointSpec, TensorSpec

OPEN_SECONDS = 5.0
RETRY_PAUSE = 0.05
HUNG_SECONDS, HUNG_TIMES = 1.0, 3.0
MAX_REASON_LENGTH = 300
PASSING = (502, 503, 504)
BUSY = (429, 503)
VALUES = (400, 413, 422)
_STATUS_WORDS = {
    401: "refuses our credential (401)",
    403: "refuses our credential (403)",
    404: "knows no such model or version (404)",
}
_HOPS = HOPS.decode().title()
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "Driftline", _HOPS: "1"}

type Count = Callable[[str], None]


class RemoteSession:
    """Asks another server, with a deadline, a retry budget and a circuit breaker; safe for threads."""

    def __init__(
        self,
        endpoint: EndpointSpec,
        inputs: list[TensorSpec],
        outputs: list[TensorSpec],
        *,
        home: Path,
        rules: OutboundRules,
        count: Count = lambda _: None,
        open_seconds: float = OPEN_SECONDS,
    ) -> None:
        """Prepare to ask; nothing is sent yet. `count` is told how each call ended: see `counts`.

        Raises ModelRefused where the credential cannot be opened.
        """
        try:
            self._headers = {**open_headers(endpoint.credential, home), **_HEADERS}
        except CredentialUnreadable as error:
            raise ModelRefused(str(error)) from error
        self._endpoint = endpoint
        self._prefix = endpoint.url.rstrip("/").split("://", 1)[-1].partition("/")[2]
        self._protocol = PROTOCOLS[endpoint.protocol](endpoint, inputs, outputs)
        self._connections = Connections(endpoint.url, rules)
        self._count = count
        self._lock = threading.Lock()
        self._breaker = CircuitBreaker(open_seconds)
        self._budget = RetryBudget()
        self._slowest = 0.0  # seconds of a call that was answered

    # Questions

    def run(
        self, inputs: dict[str, Array], outputs: Sequence[str], options: RunOptions | None = None
    ) -> list[Array]:
        """Ask for the rows of `inputs`, in several calls where they are many; return the outputs in their order.

        Raises UpstreamFailed, ValuesRefused, or CallEnded where `options` ended the run.
        """
        rows, max_rows = len(next(iter(inputs.values()))), self._endpoint.max_rows
        if rows <= max_rows:
            return self._run(inputs, rows, options)
        parts = [
            self._run(
                {name: values[start : start + max_rows] for name, values in inputs.items()},
                min(max_rows, rows - start),
                options,
            )
            for start in range(0, rows, max_rows)
        ]
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _run(self, inputs: dict[str, Array], rows: int, options: RunOptions | None) -> list[Array]:
        body, headers = self._protocol.write(inputs)
        if options is not None and options.hops:
            headers[_HOPS] = str(options.hops + 1)
        call = Call(self._endpoint.timeout_ms / 1000, options)
        self._enter()
        began = time.monotonic()
        try:
            reply = self._ask_with_retry(body, headers, call)
            answer = self._protocol.read(reply, rows)
        except BaseException as error:
            self._note_failure(error, time.monotonic() - began)
            raise
        self._note_success("answered", time.monotonic() - began)
        return answer

    def probe(self, inputs: dict[str, Array]) -> list[TensorSpec]:
        """Ask once, whatever the circuit says, and tell which outputs the answer has."""
        body, headers = self._protocol.write(inputs)
        reply = self._ask(body, headers, Call(self._endpoint.timeout_ms / 1000))
        return self._protocol.describe(reply, len(next(iter(inputs.values()))))

    def get(self, path: str) -> UpstreamReply:
        """Ask for a page of the other server, such as its metadata; raises UpstreamFailed unless it is there."""
        reply = self._send("GET", path, b"", {}, Call(self._endpoint.timeout_ms / 1000))
        _check_status(reply)
        return reply

    def _ask_with_retry(self, body: bytes, headers: dict[str, str], call: Call) -> UpstreamReply:
        try:
            return self._ask(body, headers, call)
        except UpstreamFailed as failure:
            if not failure.may_pass or not self._may_retry():
                raise
        self._tally("retried")
        call.wait(RETRY_PAUSE)
        return self._ask(body, headers, call)

    def _ask(self, body: bytes, headers: dict[str, str], call: Call) -> UpstreamReply:
        reply = self._send("POST", self._protocol.path, body, headers, call)
        _check_status(reply)
        return reply

    def _send(
        self, method: str, path: str, body: bytes, headers: dict[str, str], call: Call
    ) -> UpstreamReply:
        whole_path = f"/{self._prefix}{path}" if self._prefix else path
        return self._connections.exchange(method, whole_path, body, {**self._headers, **headers}, call)

    # The circuit

    @property
    def circuit(self) -> State:
        """Return whether the other server is asked."""
        return self._breaker.state

    @property
    def last_failure(self) -> str | None:
        """Return why the other server last gave no answer."""
        return self._breaker.last_failure

    def refusal(self, hops: int = 0) -> UpstreamFailed | None:
        """Return why a call would not be made now for what was forwarded so often before; None where it would."""
        if hops >= MAX_HOPS:
            return _goes_round(hops)
        if self._breaker.state is State.CLOSED:
            return None
        with self._lock:
            wait = self._breaker.seconds_shut(time.monotonic())
        return _shut(wait) if wait > 0 else None

    def _enter(self) -> None:
        with self._lock:
            self._budget.earn()
            if self._breaker.admits(time.monotonic()):
                return
            wait = self._breaker.seconds_shut(time.monotonic())
        self._tally("circuit_open")
        raise _shut(wait)

    def _tally(self, outcome: str) -> None:
        with self._lock:
            self._count(outcome)

    def _may_retry(self) -> bool:
        with self._lock:
            return self._breaker.state is State.CLOSED and self._budget.spend()

    def _note_success(self, outcome: str, seconds: float) -> None:
        with self._lock:
            self._count(outcome)
            self._slowest = max(self._slowest, seconds)
            self._breaker.succeed()

    def _note_failure(self, error: BaseException, seconds: float) -> None:
        """Count how a call failed. A caller's impatience is held against the server only where it seems to hang."""
        if isinstance(error, ValuesRefused):
            self._note_success("refused", seconds)
            return
        with self._lock:
            self._count(error.kind if isinstance(error, UpstreamFailed) else "ended")
            if isinstance(error, UpstreamFailed) and error.kind == "loop":
                self._breaker.give_back()  # who tells us so is well
            elif isinstance(error, UpstreamFailed):
                self._breaker.fail(str(error), time.monotonic())
            elif isinstance(error, CallEnded) and seconds < max(HUNG_SECONDS, HUNG_TIMES * self._slowest):
                self._breaker.give_back()
            else:
                self._breaker.fail(f"no answer within {seconds:.1f} s", time.monotonic())


def _shut(wait: float) -> UpstreamFailed:
    sentence = (
        "The model's server failed most of its last calls and is left alone for a while; ask again later."
    )
    return UpstreamFailed("circuit_open", 503, sentence, retry_s=max(wait, 1.0))


def _goes_round(hops: int) -> UpstreamFailed:
    sentence = (
        f"The request was forwarded {hops} times on its way here and goes no further, as between servers that name "
        "each other it would go round for ever; name the server that answers itself."
    )
    return UpstreamFailed("loop", 508, sentence)


def _check_status(reply: UpstreamReply) -> None:
    """Raise what a status other than 200 means for our caller."""
    status = reply.status
    if status == 200:
        return
    if 300 <= status < 400:
        raise UpstreamFailed(
            "status",
            502,
            f"The model's server answered {status}, and no redirect is followed; use its final URL.",
        )
    if status in VALUES:
        raise ValuesRefused(f"The model's server answered {status}: {_reason(reply)}")
    if status in BUSY:
        retry_s = _retry_after(reply)
        raise UpstreamFailed(
            "busy",
            503,
            f"The model's server has no room now ({status}): {_reason(reply)}",
            may_pass=status == 503 and retry_s is None,
            retry_s=retry_s or 1.0,
        )
    if status == 508:
        raise UpstreamFailed("loop", 508, f"The model's server answered 508: {_reason(reply)}")
    if status in _STATUS_WORDS:
        kind = "unknown_model" if status == 404 else "credential"
        raise UpstreamFailed(kind, 502, f"The model's server {_STATUS_WORDS[status]}: {_reason(reply)}")
    raise UpstreamFailed(
        "status",
        502,
        f"The model's server answered {status}: {_reason(reply)}",
        may_pass=status in PASSING,
    )


def _reason(reply: UpstreamReply) -> str:
    """Take the sentence out of an error of any of the protocols, printable and cut."""
    try:
        document = orjson.loads(reply.body[:65_536])
    except ValueError:
        document = None
    fields = document if isinstance(document, dict) else {}
    text = next(
        (fields[key] for key in ("error", "message", "detail") if isinstance(fields.get(key), str)), ""
    )
    printable = "".join(character if character.isprintable() else " " for character in text).strip()
    return printable[:MAX_REASON_LENGTH] or "it gives no reason"


def _retry_after(reply: UpstreamReply) -> float | None:
    text = reply.headers.get("retry-after", "")
    return float(text) if text.isdecimal() and len(text) <= 4 and int(text) > 0 else None
