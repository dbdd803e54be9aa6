"""What the five examples share: a connection, a model of their own, and questions to Driftline's API.

The address and the token come from DRIFTLINE_URL and DRIFTLINE_TOKEN, else from `driftline login`. EXAMPLE_SCALE=0.5
logs half as many rows.
"""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import pandas as pd

from driftline_client import ModelHandle, model
from driftline_client.credentials import access

DAY = timedelta(days=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
SCALE = float(os.environ.get("EXAMPLE_SCALE", "1"))
PATIENCE_SECONDS = 600


class Driftline:
    """Driftline's API with one token."""

    def __init__(self) -> None:
        self.url, token = access(None, None)
        self.http = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=60)

    def call(self, method: str, path: str, body: Any = None, **parameters: Any) -> Any:
        """Make one call; raises SystemExit with what Driftline says is wrong."""
        answer = self.http.request(method, f"/api/v1{path}", json=body, params=parameters)
        if not answer.is_success:
            raise SystemExit(f"{method} {path} was answered {answer.status_code}: {answer.text}")
        return answer.json()

    def create(self, name: str, task: str, **settings: Any) -> ModelHandle:
        """Create a model, under a name with a number where the example ran before, and open its version 1."""
        taken = {one["name"] for one in self.call("GET", "/models", limit=200)["items"]}
        free = next(new for new in [name, *(f"{name}-{n}" for n in range(2, 1_000))] if new not in taken)
        self.call("POST", "/models", {"name": free, "task": task, **settings})
        return model(free, version="1", strict=True)

    def watch(self, handle: ModelHandle) -> None:
        """Make the default rules, which judge each day as it is computed."""
        self.call("POST", "/rules/defaults", {"model": handle.name})

    def wait(self, handle: ModelHandle) -> None:
        """Wait until everything that was logged is computed, judged and acted on."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            found = self.call("GET", f"/models/{handle.name}")
            if found["newest_event"] and found["computed_until"] == found["newest_event"]:
                return
            time.sleep(1)
        raise SystemExit(
            f"Driftline has not computed everything: {found['stuck'] or found['computed_until']}"
        )

    def wait_for(self, handle: ModelHandle, metric: str) -> None:
        """Wait until yesterday has a point of a metric that is computed after the others; a minute at most."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = self.points(handle, metric)
            if found and datetime.fromisoformat(found[-1]["end"]) == TODAY:
                return
            time.sleep(1)

    def points(self, handle: ModelHandle, metric: str, **parameters: Any) -> list[dict[str, Any]]:
        """Read the points of a metric of the last 60 days that are over, oldest first."""
        wanted = {"metric": metric, "from": "-60d", "to": TODAY.isoformat()} | parameters
        return list(self.call("GET", f"/models/{handle.name}/metrics", **wanted)["items"])

    def print_incidents(self, handle: ModelHandle) -> None:
        """Print what Driftline opened incidents about, and the causes that it names."""
        for found in reversed(self.call("GET", "/incidents", model=handle.name)["items"]):
            print(f"  {found['severity']}: {found['title']} (since {found['since'][:10]}, {found['status']})")
            for cause in found["causes"][:3]:
                print(f"      {cause.get('feature') or cause.get('segment')}: {cause['evidence']}")

    def print_drift(self, handle: ModelHandle, **parameters: Any) -> None:
        """Print what drifted on the newest day that is over."""
        found = self.call("GET", f"/models/{handle.name}/drift", **parameters)
        for item in found["items"]:
            if item["decision"] == "drifted":
                values = {name: one["value"] for name, one in item["statistics"].items()}
                print(f"  {item['feature']} drifted: PSI {values.get('psi') or 0:.3f}")

    def page(self, handle: ModelHandle) -> str:
        """Return the address of the model's page."""
        return f"{self.url}/models/{handle.name}/"


def rows(count: int) -> int:
    """Scale a number of rows."""
    return max(1, round(count * SCALE))


def times(days_ago: int, count: int) -> list[datetime]:
    """Spread events over a day; over what has passed of it, if it is today."""
    length = DAY if days_ago else datetime.now(UTC) - TODAY
    return [TODAY - days_ago * DAY + length * (place / count) for place in range(count)]


def days(first: int) -> Iterator[int]:
    """Count down the days from `first` days ago to today: a day is judged when a later event has come."""
    yield from range(first, -1, -1)


def rows_of(days_ago: int, a_day: int) -> int:
    """Return how many rows a day has; today has those of the hours that have passed."""
    return rows(a_day) if days_ago else max(1, round(rows(a_day) * ((datetime.now(UTC) - TODAY) / DAY)))


def frame(**columns: Any) -> pd.DataFrame:
    """Make a frame of numbers with four decimals, as an application has them."""
    return pd.DataFrame(columns).apply(lambda c: c.round(4) if np.issubdtype(c.dtype, np.floating) else c)
