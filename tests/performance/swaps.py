"""Promotes versions and rolls back in turn: `python -m tests.performance.swaps PORT TOKEN MODEL [PAIRS]`.

A process of its own, so that it takes no time from the load client. Ends after so many pairs, or when it is told to;
the champion is then the one that it found. Says so after the first pair, and in the end how many changes were answered.
"""

import itertools
import signal
import sys
from contextlib import closing
from typing import Any

import orjson

from driftline.demo.api_client import Api


class Deployment:
    """A model's deployment, changed over the API; a call answers once every serving process has the change."""

    def __init__(self, api: Api, model: str) -> None:
        self._api = api
        self._path = f"/api/v1/models/{model}"
        deployment = api.get(f"{self._path}/deployment")
        self.champion: str = deployment["champion"]
        self._generation: int = deployment["generation"]

    def others(self) -> list[str]:
        """Name the versions that do not answer."""
        listed = self._api.get(f"{self._path}/versions")["items"]
        return sorted(version["version"] for version in listed if version["version"] != self.champion)

    def change(self, verb: str, **body: Any) -> None:
        """Promote or roll back."""
        headers = {"Content-Type": "application/json", "If-Match": str(self._generation)}
        changed = self._api.call("POST", f"{self._path}/{verb}", orjson.dumps(body), headers)
        assert not changed["missing"], changed
        self.champion, self._generation = changed["champion"], changed["generation"]


def swap_in_turn(deployment: Deployment, most: int | None) -> int:
    """Promote each other version in turn and roll back each time, until SIGTERM or for so many pairs."""
    asked_to_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked_to_stop.append(number))
    changes = 0
    for version in itertools.islice(itertools.cycle(deployment.others()), most):
        deployment.change("promote", version=version)
        deployment.change("rollback")
        if not changes:
            print("under way", flush=True)
        changes += 2
        if asked_to_stop:
            break
    return changes


if __name__ == "__main__":
    port, token, name, *pairs = sys.argv[1:]
    with closing(Api("127.0.0.1", int(port), token)) as connection:
        print(swap_in_turn(Deployment(connection, name), int(pairs[0]) if pairs else None))
