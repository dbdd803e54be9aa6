"""Asks Driftline for layouts and sends it summaries, over HTTP and again where it is away for a moment."""

import base64
import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from driftline_spark.layout import RowLayout, WindowRow

ATTEMPTS = 8
_PAUSE_SECONDS = 0.5


class DriftlineRefused(RuntimeError):
    """Driftline does not take what was sent, and says why."""


@dataclass(frozen=True)
class ModelApi:
    """The summaries of one model, over HTTP; the token is not shown when this is printed."""

    url: str
    model: str
    token: str = field(repr=False)

    def ask(self, version: str, centres: Mapping[str, float]) -> dict[str, Any]:
        """Ask for the layout of a version; fixes the `centres` of numbers that have none yet."""
        return self._send("POST", "/layout", {"version": version, "centres": dict(centres)})

    def add(self, batch: str, windows: Iterable[WindowRow]) -> bool:
        """Add windows, a request an hour, the same ones again without effect; tells if any was new.

        What a repeated job sends is split in the same way, whatever its bytes are: they differ in the last digits.
        """
        by_hour = groupby(sorted(windows, key=lambda window: window[:4]), key=lambda window: window[:3])
        answers = [
            self._send(
                "PUT", "", {"batch": f"{batch}.{_name_of(*hour)}", "windows": [_body(one) for one in some]}
            )
            for hour, some in by_hour
        ]
        return any(answer["is_new"] for answer in answers)

    def _send(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request, again where Driftline is away for a moment; raises `DriftlineRefused`."""
        request = urllib.request.Request(
            f"{self.url.rstrip('/')}/api/v1/models/{self.model}/summaries{path}",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
            method=method,
        )
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE_SECONDS * 2 ** (attempt - 1))
            try:
                with urllib.request.urlopen(request, timeout=120) as answer:
                    found: dict[str, Any] = json.load(answer)
                    return found
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code != 429:
                    raise DriftlineRefused(
                        f"{error.code}: {error.read(2_000).decode(errors='replace')}"
                    ) from error
                last: Exception = error
            except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
                last = error
        raise DriftlineRefused(f"Driftline did not answer {ATTEMPTS} times: {last}")


class VersionLayouts:
    """The layouts of a model's versions, each asked for once; numbers without a centre get one from the rows."""

    def __init__(self, api: ModelApi, versions: Sequence[str]) -> None:
        self._api, self._versions = api, tuple(versions)
        self._known: dict[str, RowLayout] = {}

    def read(
        self, choose_centres: Callable[[Sequence[str]], dict[str, float] | None]
    ) -> dict[str, RowLayout]:
        """Return the layouts by version.

        `choose_centres` gets names of numbers that Driftline has never seen and chooses about the median of each;
        where it gives None, because there are no rows, none is fixed and there are no layouts either.
        """
        for version in self._versions:
            if version not in self._known:
                answer = self._api.ask(version, {})
                if answer["missing"]:
                    if (centres := choose_centres(answer["missing"])) is None:
                        return {}
                    answer = self._api.ask(version, centres)
                self._known[version] = RowLayout.read(answer)
        return self._known


def _name_of(version: str, role: str, hour_us: int) -> str:
    """Name the hour of a version and role: `2026010510.1f3a9c04`."""
    digest = hashlib.sha256(f"{version}\n{role}".encode()).hexdigest()
    return f"{time.strftime('%Y%m%d%H', time.gmtime(hour_us // 1_000_000))}.{digest[:8]}"


def _body(window: WindowRow) -> dict[str, Any]:
    hour = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(window.hour_us // 1_000_000))
    return {
        "version": window.version,
        "role": window.role,
        "hour": hour,
        "segment": window.segment,
        "summary": base64.b64encode(window.summary).decode(),
    }
