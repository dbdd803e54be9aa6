"""Joins the two halves of an event to predictions, in whatever order and process they come.

Each half is looked for and only then kept; a half that was kept looks once more. So of two that come at once at least
one finds the other, and where both do, the log's own ids refuse the double. Halves are deleted after the
predictions have been committed: a crash between the two leaves what a repetition or the expiry removes.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
import orjson
from django.db import transaction
from django.db.models import QuerySet, Sum
from django.db.models.functions import Length

from driftline.base.errors import Problem, invalid
from driftline.base.periods import rfc3339
from driftline.base.work.advisory_locks import AdvisoryLock, lock
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

MAX_POOL_BYTES = 64 << 20
"""Of the halves that wait in the table for those of one batch."""

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
    with transaction.atomic():
        lock_halves(half.model)
        EventHalf.objects.bulk_create([half], ignore_conflicts=True)
    kept = halves.filter(kind=half.kind).first()
    if kept is not None and bytes(kept.payload) != half.payload:
        detail = f"Another {half.kind} waits under the id {half.event_id!r}; the first one counts."
        raise invalid("/ce-id", detail, "conflict")


def _join(half: EventHalf, other: EventHalf, halves: QuerySet[EventHalf], now: datetime) -> Taken:
    request, response = (half, other) if half.kind == EventHalf.Kind.REQUEST else (other, half)
    try:
        body = msgspec.json.encode({"predictions": predictions_of(request, response)})
        batch = parse_predictions(body, lines=False, task=half.model.task, now=now)
        result = log_predictions(model=half.model, batch=batch, now=now, atomic=True)
    except Problem as problem:
        if problem.status < 500:
            halves.filter(kind=half.kind).delete()  # the other one waits on for a half that fits
        raise
    halves.delete()
    return Taken("accepted" if result.accepted else "duplicate", result.accepted, result.duplicates)


# -- many halves at once -----------------------------------------------------------------------------------------------
def lock_halves(model: Model) -> None:
    """Lock the halves of a model for one writer at a time, so that of two that come at once one finds the other."""
    lock(AdvisoryLock.EVENT_HALVES, model.pk)


class HalvesTooLarge(Exception):
    """The halves that wait for a batch are too large to be held at once; fewer events at a time will do."""


class HalfPool:
    """The halves of a batch with those that wait for them in the table; use it under `lock_halves` until commit.

    Raises HalvesTooLarge where those of several events have more than `MAX_POOL_BYTES`.
    """

    def __init__(self, model: Model, event_ids: Collection[str]) -> None:
        ids = set(event_ids)
        self.model = model
        stored = EventHalf.objects.filter(model=model, event_id__in=ids).select_related("model")
        size = stored.aggregate(bytes=Sum(Length("payload"), default=0))["bytes"]
        if size > MAX_POOL_BYTES and len(ids) > 1:
            raise HalvesTooLarge
        self._waiting = {(half.event_id, half.kind): half for half in stored}
        first_rows = {f"{id_}:0" for id_ in ids}
        rows = PredictionRow.objects.filter(model=model, prediction_id__in=ids | first_rows)
        self._logged = {id_.removesuffix(":0") for id_ in rows.values_list("prediction_id", flat=True)}
        self._done: set[str] = set()

    def take(self, half: EventHalf) -> list[dict[str, Any]]:
        """Return the predictions of an event that is whole now; none where it waits, or is logged already.

        Raises Problem where the half does not fit the one that waits, which waits on.
        """
        if half.event_id in self._logged:
            return []
        same = self._waiting.get((half.event_id, half.kind))
        if same is not None:
            if bytes(same.payload) != half.payload:
                detail = f"Another {half.kind} waits under the id {half.event_id!r}; the first one counts."
                raise invalid("/id", detail, "conflict")
            return []
        is_request = half.kind == EventHalf.Kind.REQUEST
        other_kind = EventHalf.Kind.RESPONSE if is_request else EventHalf.Kind.REQUEST
        other = self._waiting.get((half.event_id, other_kind))
        if other is None:
            self._waiting[half.event_id, half.kind] = half
            return []
        return predictions_of(half, other) if is_request else predictions_of(other, half)

    def finish(self, half: EventHalf) -> None:
        """Note that the predictions of an event are in the log: nothing of it waits any more."""
        self._done.add(half.event_id)

    def waits(self, half: EventHalf) -> bool:
        """Return whether a half was taken and waits for its other half."""
        return half.event_id not in self._done and self._waiting.get((half.event_id, half.kind)) is half

    def save(self, *, keep_new: bool = True) -> None:
        """Keep the halves that wait from now on, and delete those that are logged."""
        if keep_new:
            waiting = (half for half in self._waiting.values() if half.pk is None)
            kept = [half for half in waiting if half.event_id not in self._done]
            EventHalf.objects.bulk_create(kept, ignore_conflicts=True)
        EventHalf.objects.filter(model=self.model, event_id__in=self._done | self._logged).delete()


# -- the predictions ---------------------------------------------------------------------------------------------------
def predictions_of(request: EventHalf, response: EventHalf) -> list[dict[str, Any]]:
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
    """Return which version answered: as either half says, else the current champion."""
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
