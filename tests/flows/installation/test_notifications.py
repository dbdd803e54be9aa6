"""`kill -9` at random moments while 200 incidents open and end: each channel hears of each, and opens it once."""

import json
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest

from driftline.base.periods import rfc3339
from tests.flows.installation.chaos import KINDS, SEED, Chaos
from tests.flows.installation.conftest import Tell
from tests.flows.installation.running import Installation
from tests.monitors.alerts.checking_receiver import CHECKS, strict
from tests.monitors.alerts.receiver import Received, Receiver
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.installation,
    pytest.mark.e2e,
    pytest.mark.chaos,
    pytest.mark.skipif(
        "DRIFTLINE_TEST_CHAOS_SECONDS" not in os.environ,
        reason="it takes five minutes of an idle machine: `make chaos` runs it",
    ),
]

MODELS = [f"alerting-{number}" for number in range(20)]
INCIDENTS = 10  # of each model: every other hour has too many predictions
HOURS_A_REQUEST = 4
HOURS = 2 * INCIDENTS + 2  # the last one ends the hour before, in which the last incident ends
FIRST_HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS + 3)
FEW, MANY = 1, 4
RULE = {
    "name": "Too many predictions",
    "metric": "count",
    "span": "hour",
    "threshold": 2,
    "min_rows": 1,
    "recover_windows": 1,
    "cooldown": 0,
    "notify_within": 30 * 86_400,
    "severity": "critical",
}
OPENED, RESOLVED = "incident.opened", "incident.resolved"
KILLS = 12
KILLED_BY = 300
"""Of the 400 messages to each channel; what a killed worker had leased is due again after a minute."""
PATIENCE_S = 300.0


@dataclass(frozen=True)
class HeardMessage:
    """A message that reached a channel; `message` is the same in a repetition and differs in a second one."""

    incident: int
    event: str
    message: str


def test_each_channel_hears_of_each_incident_and_of_no_second_opening(
    installation: Installation, tell: Tell
) -> None:
    rng = random.Random(SEED)
    chaos = Chaos(installation, rng)
    with ExitStack() as stack:
        receivers = {kind: stack.enter_context(Receiver()) for kind in READERS}
        prepare(installation, receivers)
        began = time.monotonic()
        with traffic(installation):
            for mark in sorted(rng.sample(range(KILLED_BY), KILLS)):
                wait_until(
                    lambda mark=mark: len(receivers["webhook"].received) >= mark,
                    seconds=PATIENCE_S,
                    what=f"message {mark}",
                )
                chaos.kill_one(rng.choice(list(KINDS)))
        chaos.await_calm()
        incidents = wait_until(lambda: resolved_incidents(installation), seconds=PATIENCE_S, what="200 ends")
        expected = {(incident, event) for incident in incidents for event in (OPENED, RESOLVED)}
        wait_until(
            lambda: all(expected <= _events(heard(kind, one)) for kind, one in receivers.items()),
            seconds=PATIENCE_S,
            what="the opening and the end of each incident in each channel",
        )
        wait_until(lambda: due_deliveries(installation) == 0, seconds=PATIENCE_S, what="an empty outbox")
        seconds = time.monotonic() - began
        found = {kind: heard(kind, receiver) for kind, receiver in receivers.items()}

    tell(f"{len(incidents)} incidents in {seconds:.0f} s, DRIFTLINE_TEST_CHAOS_SEED={SEED}")
    tell(f"  killed {chaos.killed.total()}: {dict(chaos.killed)}")
    for kind, messages in found.items():
        opened = Counter(one.incident for one in set(messages) if one.event == OPENED)
        tell(
            f"  {kind}: {opened.total()} openings and {len(set(messages)) - opened.total()} ends delivered, "
            f"{len(messages) - len(set(messages))} repeated; {len(expected - _events(messages))} missing, "
            f"{opened.total() - len(opened)} opened twice"
        )
    tell(f"  {installation.check_invariants()}")
    assert len(incidents) == len(MODELS) * INCIDENTS
    for kind, messages in found.items():
        distinct = Counter((one.incident, one.event) for one in set(messages))
        assert distinct == dict.fromkeys(expected, 1), (
            f"{kind} heard of something twice, or of something else"
        )


def prepare(installation: Installation, receivers: Mapping[str, Receiver]) -> None:
    """Make the models with a rule each, and a channel to each receiver."""
    with closing(installation.api()) as api:
        for kind, receiver in receivers.items():
            if kind in CHECKS:
                strict(CHECKS[kind], receiver)
            target = receiver.url.removesuffix("/hook") if kind == "alertmanager" else receiver.url
            channel = api.post("/api/v1/channels", {"name": kind, "kind": kind, "target": target})
            receiver.secret = channel["secret"]
        for model in MODELS:
            api.post("/api/v1/models", {"name": model, "task": "binary"})
            api.post("/api/v1/rules", {"model": model, **RULE})


@contextmanager
def traffic(installation: Installation) -> Iterator[None]:
    """Log the hours of all models from another thread, which has ended with the block."""
    sender = threading.Thread(target=send_hours, args=[installation], name="traffic")
    sender.start()
    try:
        yield
    finally:
        sender.join(PATIENCE_S)
    assert not sender.is_alive(), "the traffic did not end"


def send_hours(installation: Installation) -> None:
    """Log some hours of each model, and the next ones when these are stored: rows that come late count in no rule."""
    for first in range(0, HOURS, HOURS_A_REQUEST):
        hours = range(first, min(first + HOURS_A_REQUEST, HOURS))
        rows = {model: rows_of(model, hours) for model in MODELS}
        with closing(installation.api()) as api:  # which asks again while nobody answers
            for model, some in rows.items():
                api.post(f"/api/v1/models/{model}/predictions", {"predictions": some})
        ids = {row["id"] for some in rows.values() for row in some}
        wait_until(
            lambda ids=ids: are_stored(installation, ids), seconds=PATIENCE_S, what="the rows of some hours"
        )


def rows_of(model: str, hours: range) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{model}-{hour}-{number}",
            "timestamp": rfc3339(FIRST_HOUR + timedelta(hours=hour, minutes=59 - number)),
            "version": "1",
            "features": {"f0": 0.25},
            "prediction": "1",
            "probabilities": 0.8,
        }
        for hour in hours
        for number in range(MANY if hour % 2 and hour < 2 * INCIDENTS else FEW)
    ]


def are_stored(installation: Installation, ids: set[str]) -> bool:
    with suppress(psycopg2.Error):  # the database may only just be coming back
        query = "SELECT count(*) FROM inference_predictionrow WHERE prediction_id = ANY(%s)"
        return installation.query(query, [list(ids)]) == [(len(ids),)]
    return False


# -- what became of it -------------------------------------------------------------------------------------------------
def resolved_incidents(installation: Installation) -> list[int]:
    """List the incidents of the models once as many as there should be, or more, have opened and all have ended."""
    with suppress(psycopg2.Error):
        found = installation.query(
            "SELECT i.id, i.status FROM monitors_incident i JOIN inference_model m ON m.id = i.model_id "
            "WHERE m.name = ANY(%s)",
            [MODELS],
        )
        if len(found) >= len(MODELS) * INCIDENTS and {status for _, status in found} == {"resolved"}:
            return [incident for incident, _ in found]
    return []


def due_deliveries(installation: Installation) -> int:
    """Count what is to be sent within a minute; a receiver that answered too late twice is asked again after five."""
    [(count,)] = installation.query(
        "SELECT count(*) FROM monitors_delivery"
        " WHERE state = 'pending' AND next_attempt_at < now() + interval '1 minute'"
    )
    return int(count)


def heard(kind: str, receiver: Receiver) -> list[HeardMessage]:
    return [READERS[kind](receiver, index) for index in range(len(receiver.received))]


def _events(messages: list[HeardMessage]) -> set[tuple[int, str]]:
    return {(one.incident, one.event) for one in messages}


def _webhook(receiver: Receiver, index: int) -> HeardMessage:
    body = receiver.verified(index)
    return HeardMessage(body["incident"]["id"], body["event"], body["event_id"])


def _slack(receiver: Receiver, index: int) -> HeardMessage:
    text = receiver.received[index].body.decode()
    [incident] = set(re.findall(r"/incidents/(\d+)", text))
    title = json.loads(text)["blocks"][0]["text"]["text"]
    return HeardMessage(int(incident), RESOLVED if title.startswith("Resolved") else OPENED, text)


def _alertmanager(receiver: Receiver, index: int) -> HeardMessage:
    received: Received = receiver.received[index]
    alerts = json.loads(received.body)
    has_ended = datetime.fromisoformat(alerts[0]["endsAt"]) <= datetime.now(UTC)
    return HeardMessage(
        int(alerts[0]["labels"]["incident"]), RESOLVED if has_ended else OPENED, received.body.decode()
    )


READERS: dict[str, Callable[[Receiver, int], HeardMessage]] = {
    "webhook": _webhook,
    "slack": _slack,
    "alertmanager": _alertmanager,
}
