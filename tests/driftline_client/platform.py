"""The real API, as a client sees it."""

from dataclasses import dataclass
from typing import Any

import httpx

import driftline_client
from driftline_client import Delivery, ModelHandle

HASTY = Delivery(first_retry_s=0.02, longest_retry_s=0.05, wait_s=0.05)


@dataclass(frozen=True)
class Platform:
    """A live server with a project, and a token that may do everything in it."""

    url: str
    token: str

    def open(self, name: str, version: str | None = "1", **options: Any) -> ModelHandle:
        """Open a model; it is made with the first items."""
        options = {"task": "binary", "strict": True, "delivery": HASTY} | options
        return driftline_client.model(name, self.url, self.token, version, **options)

    def get(self, path: str) -> Any:
        """Read from the API."""
        answer = httpx.get(f"{self.url}/api/v1{path}", headers={"Authorization": f"Bearer {self.token}"})
        assert answer.is_success, answer.text
        return answer.json()
