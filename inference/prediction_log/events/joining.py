"""Joins the two halves of an event to predictions, in whatever order and process they come.

Each half is looked for and only then kept; a half that was kept looks once more. So of two that come at once at least
one finds the other, and where both do, the log's own ids refuse the double. Halves are deleted after the
predictions have been committed: a crash between the two leaves what a repetition or the expiry removes.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
import orjson
from django.db.models import QuerySet

from driftline.common.errors import Problem, invalid
from driftline.common.periods import rfc3339
from inference.prediction_log.events.models import EventHalf
from inference.prediction_log.events.payloads import answer_of, features_of, read_rows
from inference.prediction_log.ingest.parsing import parse_predictions
from inference.prediction_log.ingest.store import log_predictions, refuse_while_behind
from inference.prediction_log.models import PredictionRow
from inference.prediction_log.rows.sent_items import is_latency
from inference.registry.models import Deployment, Model
from inference.registry.selectors import signature_of, unlearnt_signature
from inference.signatures import Signature

log = logging.getLogger(__name__)

WAIT = timedelta(hours=1)
"""How long a half waits. KServe tells both within its own timeouts, which are minutes; a half lies in clear."""

FIRST_VERSION = "1"  # of a model that has no champion yet


@dataclass(frozen=True)
class Taken:
    """What became of a half."""

    status: Literal["waiting", "accepted", "duplicate"]
    accepted: int = 0
    duplicates: int = 0


def take_half(*, half: EventHalf, now: datetime) -> Taken:
    """Join a half with the other one, or keep it until that comes; raises Problem where the two can never be joined.

    `half` is not saved. Taking one again is harmless.
    """
    refuse_while_behind(half.model)
    halves = EventHalf.objects.filter(model=half.model, event_id=half.event_id)
    if _is_logged(half):
        halves.delete()
        return Taken("duplicate")
    other = halves.exclude(kind=half.kind).first()
    if other is not None:
        return _join(half, other, halves, now)
    _keep(half, halves)
    other = halves.exclude(kind=half.kind).first()
    return Taken("waiting") if other is None else _join(half, other, halves, now)


def _is_logged(half: EventHalf) -> bool:
    ids = (half.event_id, f"{half.event_id}:0")
    return PredictionRow.objects.filter(model=half.model, prediction_id__in=ids).exists()


def _keep(half: EventHalf, halves: QuerySet[EventHalf]) -> None:
    EventHalf.objects.bulk_create([half], ignore_conflicts=True)
    kept = halves.filter(kind=half.kind).first()
    if kept is not None and bytes(kept.payload) != half.payload:
        detail = f"Another {half.kind} waits under the id {half.event_id!r}; the first one counts."
        raise invalid("/ce-id", detail, "conflict")


def _join(half: EventHalf, other: EventHalf, halves: QuerySet[EventHalf], now: datetime) -> Taken:
    request, response = (half, other) if half.kind == EventHalf.Kind.REQUEST else (other, half)
    try:
        body = msgspec.json.encode({"predictions": _predictions(request, response)})
        batch = parse_predictions(body, lines=False, task=half.model.task, now=now)
        result = log_predictions(model=half.model, batch=batch, now=now, atomic=True)
    except Problem as problem:
        if problem.status < 500:
            halves.filter(kind=half.kind).delete()  # the other one waits on for a half that fits
        raise
    halves.delete()
    return Taken("accepted" if result.accepted else "duplicate", result.accepted, result.duplicates)


# -- the predictions ---------------------------------------------------------------------------------------------------
def _predictions(request: EventHalf, response: EventHalf) -> list[dict[str, Any]]:
    """Write the predictions of an event as the logging API takes them."""
    version = _version(request, response)
    signature = _signature(request.model, version)
    asked = read_rows(orjson.loads(request.payload), request.kind)
    answered = read_rows(orjson.loads(response.payload), response.kind)
    if len(asked) != len(answered):
        detail = f"The request has {len(asked):,} rows and the response {len(answered):,}."
        raise invalid("/response", detail, "row_count_mismatch")
    common: dict[str, Any] = {"timestamp": rfc3339(request.time or request.received_at), "version": version}
    latency_ms = _latency_ms(request, response)
    if latency_ms is not None:
        common["latency_ms"] = latency_ms
    predictions = []
    for place, (id_, row, answer) in enumerate(zip(_ids(request, asked), asked, answered, strict=True)):
        prediction, probabilities = answer_of(answer, signature, place)
        named = {"id": id_, "features": features_of(row, signature, place), "prediction": prediction}
        predictions.append(
            named | common | ({} if probabilities is None else {"probabilities": probabilities})
        )
    return predictions


def _ids(half: EventHalf, rows: Sequence[object]) -> list[str]:
    return [half.event_id] if len(rows) == 1 else [f"{half.event_id}:{place}" for place in range(len(rows))]


def _version(request: EventHalf, response: EventHalf) -> str:
    """Tell which version answered: as either half says, else the champion of now."""
    named = {half.version for half in (request, response) if half.version}
    if len(named) > 1:
        detail = f"The halves name two versions, {request.version!r} and {response.version!r}."
        raise invalid("/ce-driftlineversion", detail, "version_mismatch")
    champions = Deployment.objects.filter(model=request.model).values_list("champion__version", flat=True)
    return next(iter(named), None) or champions.first() or FIRST_VERSION


def _signature(model: Model, name: str) -> Signature:
    version = model.versions.select_related("model").filter(version=name).first()
    return signature_of(version) if version else unlearnt_signature(model.task)


def _latency_ms(request: EventHalf, response: EventHalf) -> float | None:
    if request.time is None or response.time is None:
        return None
    latency_ms = (response.time - request.time) / timedelta(milliseconds=1)
    return latency_ms if is_latency(latency_ms) else None


# -- halves that nobody joined -----------------------------------------------------------------------------------------
def delete_orphans(now: datetime) -> int:
    """Delete the halves that have waited long enough; returns how many."""
    orphans, _ = EventHalf.objects.filter(received_at__lt=now - WAIT).delete()
    if orphans:
        log.info("halves of events expired without their other half", extra={"halves": orphans})
    return orphans
