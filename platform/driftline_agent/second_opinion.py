"""Has the server answer where the device is unsure: its own answer goes out wherever the server's does not come."""

import json
import logging
import time
from typing import Any
from urllib.parse import quote

import httpx

from driftline_agent import __version__
from driftline_agent.device_clock import DeviceClock
from driftline_agent.identity import Identity
from driftline_agent.manifest import Manifest
from driftline_agent.model import Array, probabilities_of

log = logging.getLogger("driftline_agent")

TIMEOUT_SECONDS = 2.0
QUIET_SECONDS = 30.0
"""How long nobody asks after the server was not reached: programs wait for an answer meanwhile."""
DAY_MS = 86_400_000


class SecondOpinion:
    """The server's champion of the same model; any number of threads may ask it."""

    def __init__(
        self, identity: Identity, clock: DeviceClock, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._identity = identity
        self._clock = clock
        self._quiet_until = float("-inf")
        self._client = httpx.Client(
            base_url=identity.url,
            headers={
                "Authorization": f"Bearer {identity.token}",
                "Content-Type": "application/json",
                "User-Agent": f"driftline-agent/{__version__}",
            },
            timeout=timeout_seconds,
        )

    def is_wanted(self, manifest: Manifest, outputs: dict[str, Array]) -> bool:
        """Return whether the group's policy has the server answer a request that the device answered so.

        One row of which the device is unsure is enough; the version is old by the server's clock where it is known.
        """
        if not manifest.asks_server or time.monotonic() < self._quiet_until:
            return False
        return self._is_old(manifest) or _is_unsure(manifest, outputs)

    def ask(self, manifest: Manifest, body: bytes, rows: int) -> dict[str, Any] | None:
        """Send a request of so many rows as it came, with the device's tags; None where no usable answer came in time.

        The answer's parameters say that it is the server's, and the ids by which labels find its rows there.
        """
        document = json.loads(body)
        try:
            document["parameters"] = self._with_tags(document.get("parameters"))
        except (ValueError, TypeError):  # what the program sent are no tags
            return None
        try:
            answer = self._client.post(
                f"/v2/models/{quote(manifest.model, safe='')}/infer", content=json.dumps(document)
            )
            return _read(answer, rows)
        except (httpx.HTTPError, ValueError) as error:
            log.info("the server gives no second opinion: %s", error)
            self._quiet_until = time.monotonic() + QUIET_SECONDS
            return None

    def _with_tags(self, parameters: Any) -> dict[str, Any]:
        """Add the device's tags to those of a request, which the protocol has as an object in a string."""
        given = parameters if isinstance(parameters, dict) else {}
        tags = json.loads(given.get("driftline_tags", "{}"))
        own = {"device": self._identity.device, "device_group": self._identity.group}
        return {**given, "driftline_tags": json.dumps({**tags, **own})}

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


def _read(answer: httpx.Response, rows: int) -> dict[str, Any]:
    """Return an answer of the protocol; raises ValueError for any other."""
    if answer.status_code != 200:
        raise ValueError(f"it answers {answer.status_code}")
    document = answer.json()
    if not isinstance(document, dict) or not isinstance(document.get("outputs"), list):
        raise ValueError("its answer has no outputs")
    id_ = answer.headers.get("Driftline-Prediction-Id", "")
    ids = [id_] if rows == 1 else [f"{id_}:{row}" for row in range(rows)]
    document["parameters"] = {"answered_by": "server"} | ({"prediction_ids": ids} if id_ else {})
    return document
