"""Clients that keep a ledger of what they were told, outside the system that they ask."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from driftline.base.periods import rfc3339
from driftline.demo.wire import ConnectionLost, HttpAnswer, HttpConnection
from tests.flows.installation.running import FEATURES, Installation
from tests.waiting import wait_until

PAUSE_S = 0.005  # between two requests of a client: the machine has other work too
RETRY_S = 0.1
LAST_TRY_S = 90.0
BATCH = 20


def infer_body(*rows: Sequence[float], id: str = "1", **parameters: str) -> bytes:
    """Rows in the Open Inference Protocol's JSON."""
    tensors = [
        {"name": name, "shape": [len(rows), 1], "datatype": "FP32", "data": column}
        for name, column in zip(FEATURES, zip(*rows, strict=True), strict=True)
    ]
    return msgspec.json.encode({"id": id, "inputs": tensors, "parameters": parameters})


def request(installation: Installation, path: str, body: bytes) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{installation.port}\r\n"
        f"Authorization: Bearer {installation.token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@dataclass
class Ledger:
    """What clients were told; nothing of it was asked of the system afterwards."""

    acknowledged: list[str] = field(default_factory=list)
    labelled: list[str] = field(default_factory=list)
    unanswered: int = 0  # requests of which nobody knows whether they counted
    turned_away: int = 0  # connections refused: nothing was sent
    refused: Counter[int] = field(default_factory=Counter)  # answers other than 200, by status
    log_states: Counter[str] = field(default_factory=Counter)  # what 200s said of the log
    slowest_s: float = 0.0

    def __add__(self, other: "Ledger") -> "Ledger":
        return Ledger(
            self.acknowledged + other.acknowledged,
            self.labelled + other.labelled,
            self.unanswered + other.unanswered,
            self.turned_away + other.turned_away,
            self.refused + other.refused,
            self.log_states + other.log_states,
            max(self.slowest_s, other.slowest_s),
        )


class Client:
    """A thread that asks until it is told to stop; a request whose answer got lost is sent again or counted."""

    def __init__(self, installation: Installation, model: str, name: str) -> None:
        self.ledger = Ledger()
        self._installation = installation
        self._model = model
        self._name = name
        self._connection = HttpConnection("127.0.0.1", installation.port)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Let the client finish what it began."""
        self._stopping.set()

    def wait(self) -> None:
        self._thread.join(2 * LAST_TRY_S)
        assert not self._thread.is_alive(), f"{self._name} did not end"

    def _run(self) -> None:
        for number in itertools.count():
            if self._stopping.wait(PAUSE_S):
                break
            self._turn(f"{self._name}-{number}")
        self._connection.close()

    def _turn(self, key: str) -> None:
        raise NotImplementedError

    def _question(self, **parameters: str) -> bytes:
        """Write a request of one row, in the layout that the model takes."""
        return infer_body([0.5, 1.0, -1.0, 0.0], **parameters)

    def _ask(self, path: str, body: bytes) -> HttpAnswer | None:
        """Send a request once; None where no answer came."""
        started = time.monotonic()
        try:
            self._connection.write(request(self._installation, path, body))
            answer = self._connection.read_answer()
        except ConnectionLost as lost:
            if isinstance(lost.__cause__, ConnectionRefusedError):
                self.ledger.turned_away += 1
            else:
                self.ledger.unanswered += 1
            self._connection.close()
            return None
        self.ledger.slowest_s = max(self.ledger.slowest_s, time.monotonic() - started)
        if answer.closes:
            self._connection.close()
        if answer.status != 200:
            self.ledger.refused[answer.status] += 1
        else:
            self.ledger.log_states[answer.headers["driftline-log"]] += 1
        return answer

    def _ask_until_accepted(self, path: str, body: bytes) -> HttpAnswer | None:
        """Send the same request again until it is accepted; None where that had no end after the stop."""
        last_try = None
        while (answer := self._ask(path, body)) is None or answer.status != 200:
            if self._stopping.is_set():
                last_try = last_try or time.monotonic() + LAST_TRY_S
                if time.monotonic() > last_try:
                    return None
            time.sleep(RETRY_S)  # a pause between tries; nothing waits for it
        return answer


class Asking(Client):
    """Asks for one prediction at a time and lets the server choose its id: an unanswered request is let go."""

    def _turn(self, key: str) -> None:
        answer = self._ask(f"/v2/models/{self._model}/infer", self._question())
        if answer is None:
            time.sleep(RETRY_S)  # a pause between tries; nothing waits for it
        elif answer.status == 200:
            self.ledger.acknowledged.append(answer.headers["driftline-prediction-id"])


class AskingWithKey(Client):
    """Asks with a `driftline_id` of its own and repeats each request until it was answered."""

    def _turn(self, key: str) -> None:
        body = self._question(driftline_id=key)
        answer = self._ask_until_accepted(f"/v2/models/{self._model}/infer", body)
        if answer is not None:
            self.ledger.acknowledged.append(key)


class Logging(Client):
    """Logs batches of predictions that another server made, then their labels, until each was answered 2xx."""

    def _turn(self, key: str) -> None:
        keys = [f"{key}-{row}" for row in range(BATCH)]
        rows = [logged(key) for key in keys]
        labels = [{"id": key, "label": "1"} for key in keys]
        if self._send("predictions", rows):
            self.ledger.acknowledged += keys
            if self._send("labels", labels):
                self.ledger.labelled += keys

    def _send(self, kind: str, items: list[dict[str, Any]]) -> bool:
        path = f"/api/v1/models/{self._model}/{kind}"
        answer = self._ask_until_accepted(path, msgspec.json.encode({kind: items}))
        if answer is None:
            return False
        told = {result["status"] for result in msgspec.json.decode(answer.body)["results"]}
        assert told <= {"accepted", "duplicate"}, told
        return True


def logged(key: str) -> dict[str, Any]:
    """Make a prediction that another server answered, as the logging API takes it."""
    return {
        "id": key,
        "timestamp": rfc3339(datetime.now(UTC)),
        "version": "1",
        "features": dict.fromkeys(FEATURES, 0.25),
        "prediction": "1",
        "probabilities": 0.8,
        "latency_ms": 1.5,
    }


class Load:
    """Several clients at once. Use it as a context manager: they end with it."""

    def __init__(self, installation: Installation, model: str, **kinds: type[Client]) -> None:
        self._clients = {name: kind(installation, model, name) for name, kind in kinds.items()}

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients.values():
            client.ask_to_stop()
        for client in self._clients.values():
            client.wait()

    def ledger(self, *kinds: type[Client]) -> Ledger:
        """The ledgers of the clients of these kinds together."""
        chosen = [client.ledger for client in self._clients.values() if isinstance(client, kinds)]
        return sum(chosen, Ledger())

    def await_more(self, count: int) -> None:
        """Wait until every client was acknowledged `count` more predictions: the load is under way again."""
        wanted = {name: len(client.ledger.acknowledged) + count for name, client in self._clients.items()}
        wait_until(
            lambda: all(len(self._clients[name].ledger.acknowledged) >= n for name, n in wanted.items()),
            seconds=120,
            what=f"{count} more acknowledged predictions of each client",
        )
