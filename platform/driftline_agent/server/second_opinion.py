"""Asks the server to answer where the device is unsure: its own answer goes out where the server's does not come."""

import json
import logging
import threading
import time
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import quote

import httpx

from driftline_agent.binary_tensors import BINARY_TYPE, LENGTH_HEADER
from driftline_agent.model import Array, probabilities_of
from driftline_agent.server.device_clock import DeviceClock
from driftline_agent.server.identity import Identity
from driftline_agent.server.manifest import Manifest
from driftline_agent.server.server_client import open_client

log = logging.getLogger("driftline_agent")

TIMEOUT_SECONDS = 2.0
MAX_ANSWER_BYTES = 16 << 20
QUIET_SECONDS = 30.0
"""How long nobody asks after the server was not reached: programs wait for an answer meanwhile."""
DAY_MS = 86_400_000
_REFUSES_ALL = {401, 403, 429}
_NOT_FORWARDED = {"driftline_id", "driftline_timestamp", "binary_data_output"}
"""The server names the rows itself, and its answer is JSON."""


@dataclass(frozen=True)
class _Answer:
    status: int
    prediction_id: str
    body: bytes


class SecondOpinion:
    """The server's champion of the same model; any number of threads may ask it."""

    def __init__(
        self, identity: Identity, clock: DeviceClock, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._identity = identity
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._quiet_until = float("-inf")
        headers = {
            "Authorization": f"Bearer {identity.token}",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
        }
        self._client = open_client(identity.url, "", timeout_seconds, headers)

    def is_wanted(self, manifest: Manifest, outputs: dict[str, Array]) -> bool:
        """Return whether the group's policy has the server answer a request that the device answered so.

        One row of which the device is unsure is enough; the version is old by the server's clock where it is known.
        """
        if not manifest.asks_server or time.monotonic() < self._quiet_until:
            return False
        return self._is_old(manifest) or _is_unsure(manifest, outputs)

    def ask(self, manifest: Manifest, head: bytes, tail: bytes, rows: int) -> dict[str, Any] | None:
        """Send a request of so many rows as it came, in the device's name; None where no usable answer came in time.

        The answer's parameters say that it is the server's, and the ids by which labels find its rows there.
        """
        try:
            forwarded = json.dumps(self._forwarded(json.loads(head))).encode()
        except (ValueError, TypeError, RecursionError):  # what the program sent are no tags
            return None
        headers = {LENGTH_HEADER: str(len(forwarded)), "Content-Type": BINARY_TYPE} if tail else {}
        path = f"/v2/models/{quote(manifest.model, safe='')}/infer"
        answer = self._answer_in_time(path, forwarded + tail, headers)
        if answer is None or answer.status in _REFUSES_ALL or answer.status >= 500:
            log.info("the server gives no second opinion: %s", answer.status if answer else "no answer")
            self._quiet_until = time.monotonic() + QUIET_SECONDS
            return None
        try:
            return _read(answer, rows)
        except (ValueError, RecursionError) as error:
            log.info("the server gives no second opinion: %s", error)
            return None

    def _answer_in_time(self, path: str, content: bytes, headers: dict[str, str]) -> _Answer | None:
        """Return what the server answers; None where that is not here, whole, in time.

        A thread of its own asks: an HTTP client's timeouts are for its steps and between bytes, not for an exchange.
        """
        came: SimpleQueue[_Answer | None] = SimpleQueue()
        until = time.monotonic() + self._timeout_seconds
        asked = (path, content, headers, until, came)
        threading.Thread(target=self._exchange, args=asked, daemon=True).start()
        try:
            return came.get(timeout=self._timeout_seconds)
        except Empty:
            return None

    def _exchange(
        self,
        path: str,
        content: bytes,
        headers: dict[str, str],
        until: float,
        came: SimpleQueue[_Answer | None],
    ) -> None:
        try:
            with self._client.stream("POST", path, content=content, headers=headers) as answer:
                body = bytearray()
                for block in answer.iter_raw():
                    body += block
                    if len(body) > MAX_ANSWER_BYTES or time.monotonic() > until:
                        came.put(None)
                        return
            id_ = answer.headers.get("Driftline-Prediction-Id", "")
            came.put(_Answer(answer.status_code, id_, bytes(body)))
        except (httpx.HTTPError, RuntimeError):  # such as a client that was closed meanwhile
            came.put(None)

    def _forwarded(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return a request as the server gets it: with the device's tags and how long it has, all outputs as JSON."""
        parameters = document.get("parameters")
        given = parameters if isinstance(parameters, dict) else {}
        kept = {name: value for name, value in given.items() if name not in _NOT_FORWARDED}
        tags = json.loads(given.get("driftline_tags", "{}"))
        own = {"device": self._identity.device, "device_group": self._identity.group}
        added = {
            "driftline_tags": json.dumps({**tags, **own}),
            "timeout": round(self._timeout_seconds * 1e6),
        }
        for output in document.get("outputs") or []:
            if isinstance(output, dict) and isinstance(output.get("parameters"), dict):
                output["parameters"].pop("binary_data", None)
        return {**document, "parameters": {**kept, **added}}

    def close(self) -> None:
        self._client.close()

    def _is_old(self, manifest: Manifest) -> bool:
        if manifest.ask_after_days is None:
            return False
        now_ms = self._clock.server_ms() or self._clock.wall_ms()
        return now_ms - manifest.released_ms > manifest.ask_after_days * DAY_MS


def _is_unsure(manifest: Manifest, outputs: dict[str, Array]) -> bool:
    if manifest.ask_below is None or (matrix := probabilities_of(manifest.signature, outputs)) is None:
        return False
    return bool((matrix.max(axis=1) < manifest.ask_below).any())


def _read(answer: _Answer, rows: int) -> dict[str, Any]:
    """Return an answer of the protocol; raises ValueError for any other."""
    if answer.status != 200:
        raise ValueError(f"it answers {answer.status}")
    document = json.loads(answer.body)
    if not isinstance(document, dict) or not isinstance(document.get("outputs"), list):
        raise ValueError("its answer has no outputs")
    id_ = answer.prediction_id
    ids = [id_] if rows == 1 else [f"{id_}:{row}" for row in range(rows)]
    document["parameters"] = {"answered_by": "server"} | ({"prediction_ids": ids} if id_ else {})
    return document
