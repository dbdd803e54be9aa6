"""What every story sends: predictions and labels of one model, and the wait until the platform has computed them."""

import time
from collections.abc import Sequence
from datetime import datetime

from driftline.demo.api_client import Api
from driftline.demo.wire import RequestSender

LABELS_A_REQUEST = 1_000
POLL_S = 0.5
LIVE_TICK_S = 120.0
"""Live rows are sent together so often: the platform computes after each arrival, and an idle demo costs little."""


class Traffic:
    """The callers of one model, and those who learn what became of their rows."""

    def __init__(self, *, api: Api, sender: RequestSender, model: str) -> None:
        self.api = api
        self._sender = sender
        self._path = f"/api/v1/models/{model}"

    def ask(self, bodies: Sequence[bytes]) -> None:
        """Send every request and wait until each was answered."""
        self._sender.send(bodies)

    def label(self, labels: Sequence[dict[str, str]]) -> None:
        for first in range(0, len(labels), LABELS_A_REQUEST):
            self.api.post(f"{self._path}/labels", {"labels": labels[first : first + LABELS_A_REQUEST]})

    def wait_until_computed(self, moment: datetime) -> None:
        """Wait until all up to a moment of event time is measured, judged and acted on."""
        while True:
            computed = self.api.get(self._path)["computed_until"]
            if computed and datetime.fromisoformat(computed) >= moment:
                return
            time.sleep(POLL_S)

    def rest(self) -> None:
        """Wait a moment before the platform is asked again."""
        time.sleep(POLL_S)

    def champion(self) -> str:
        """Return the version that the deployment names, by which a caller chooses how to prepare its rows."""
        return str(self.api.get(f"{self._path}/deployment")["champion"])

    def promote(self, version: str, reason: str) -> None:
        generation = self.api.get(f"{self._path}/deployment")["generation"]
        self.api.post(
            f"{self._path}/promote", {"version": version, "reason": reason}, {"If-Match": str(generation)}
        )
