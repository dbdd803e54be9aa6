"""Writes labels in any order: before their prediction, after it, corrected later; each joins exactly once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connection, transaction

from driftline.common.errors import FieldFault, Problem
from driftline.common.periods import floor
from driftline.common.work import touch
from inference.prediction_log.array_literals import text_array
from inference.prediction_log.columns import LogColumns
from inference.prediction_log.items import BatchResult, ItemFault, ItemResult, LabelItem, class_text
from inference.prediction_log.models import Label, PredictionRow, TouchedPeriod
from inference.prediction_log.signals import periods_touched
from inference.registry.models import Model

TOUCHED_FIELDS = ("model_id", "version_id", "role", "hour")
_LOCK_SPACE = 7_301  # advisory locks of the label join: one a model


def lock(model_id: int, *, exclusive: bool) -> None:
    """Keep the join whole until commit: a label may not look for its prediction while that is being written.

    Writers of predictions share the lock, a writer of labels has it alone. Taken before anything else is locked.
    """
    name = "pg_advisory_xact_lock" if exclusive else "pg_advisory_xact_lock_shared"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {name}(%s, %s)", [_LOCK_SPACE, model_id])


# -- labels that arrive ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Target:
    """The prediction that a label belongs to."""

    prediction_id: str
    event_time: datetime


def log_labels(
    *, model: Model, items: Sequence[LabelItem | ItemFault], source: str, now: datetime, atomic: bool = False
) -> BatchResult:
    """Store the valid labels of one request in one commit and say what became of each."""
    checked = [_checked(model, index, item) for index, item in enumerate(items)]
    if atomic and any(isinstance(item, ItemFault) for item in checked):
        raise refuse_atomic(checked)
    with transaction.atomic():
        lock(model.pk, exclusive=True)
        results = _store(model, checked, source, now)
        if atomic and any(result.status == "ambiguous_id" for result in results):
            raise Problem(422, "ambiguous_id", "An id of this request belongs to more than one prediction.")
    return BatchResult.of(results)


def _checked(model: Model, index: int, item: LabelItem | ItemFault) -> LabelItem | ItemFault:
    if isinstance(item, ItemFault) or model.task not in ("regression", "ranking"):
        return item
    try:
        float(item.label)
    except ValueError:
        detail = f"The label {item.label[:64]!r} is not a number, and {model.name} is a {model.task} model."
        return ItemFault(item.id, "label_type_mismatch", detail, f"/labels/{index}/label")
    return item


def _store(
    model: Model, items: Sequence[LabelItem | ItemFault], source: str, now: datetime
) -> list[ItemResult]:
    given = list(dict.fromkeys(item.id for item in items if isinstance(item, LabelItem)))
    targets, ambiguous = _find_targets(model, given)
    current = {
        label.given_id: label
        for label in Label.objects.filter(model=model, given_id__in=given, is_current=True)
    }
    results, fresh, replaced = [], [], []
    for index, item in enumerate(items):
        if isinstance(item, ItemFault):
            results.append(rejected(index, item))
            continue
        if item.id in ambiguous:
            results.append(_ambiguous(index, item))
            continue
        value, before = class_text(item.label), current.get(item.id)
        if before is not None and before.value == value:
            results.append(ItemResult(index=index, id=item.id, status="duplicate", error=None))
            continue
        label = _label(model, item, value, before, targets.get(item.id), source, now)
        if before is not None:
            before.is_current = False
            replaced.append(before)
        fresh.append(label)
        current[item.id] = label
        results.append(_accepted(index, item, before, label))
    _write(fresh, replaced)
    _touch_predictions(model.pk, {label.prediction_id for label in fresh if label.prediction_id})
    return results


def _label(
    model: Model,
    item: LabelItem,
    value: str,
    before: Label | None,
    target: _Target | None,
    source: str,
    now: datetime,
) -> Label:
    return Label(
        model=model,
        given_id=item.id,
        revision=before.revision + 1 if before else 1,
        value=value,
        labelled_at=item.timestamp,
        received_at=now,
        source=source,
        prediction_id=target.prediction_id if target else "",
        prediction_time=target.event_time if target else None,
    )


def _write(fresh: list[Label], replaced: list[Label]) -> None:
    kept = [label.pk for label in replaced if label.pk is not None]
    Label.objects.filter(pk__in=kept).update(is_current=False)
    Label.objects.bulk_create(fresh)


def _accepted(index: int, item: LabelItem, before: Label | None, label: Label) -> ItemResult:
    if not label.prediction_id:
        return ItemResult(index=index, id=item.id, status="pending_prediction", error=None)
    return ItemResult(index=index, id=item.id, status="superseded" if before else "accepted", error=None)


def _ambiguous(index: int, item: LabelItem) -> ItemResult:
    detail = f"{item.id!r} is the client_id of more than one prediction; use the prediction id."
    fault = ItemFault(item.id, "ambiguous_id", detail, f"/labels/{index}/id")
    return ItemResult(index=index, id=item.id, status="ambiguous_id", error=fault)


def _find_targets(model: Model, ids: list[str]) -> tuple[dict[str, _Target], set[str]]:
    """Find each id as a prediction id, else as a client id that exactly one prediction holds."""
    answered = PredictionRow.objects.filter(model=model).exclude(role="shadow")
    targets = {
        id_: _Target(id_, moment)
        for id_, moment in answered.filter(prediction_id__in=ids).values_list("prediction_id", "event_time")
    }
    by_client: dict[str, list[_Target]] = {}
    rest = [id_ for id_ in ids if id_ not in targets]
    for client_id, id_, moment in answered.filter(client_id__in=rest).values_list(
        "client_id", "prediction_id", "event_time"
    ):
        by_client.setdefault(str(client_id), []).append(_Target(id_, moment))
    targets |= {client_id: found[0] for client_id, found in by_client.items() if len(found) == 1}
    return targets, {client_id for client_id, found in by_client.items() if len(found) > 1}


# -- labels that waited ------------------------------------------------------------------------------------------------
def join_waiting(rows: LogColumns) -> None:
    """Attach labels that came before these predictions, in the caller's transaction."""
    times = dict(zip(rows.ids, rows.times_us, strict=True))
    clients = {
        client: id_ for client, id_ in zip(rows.client_ids, rows.ids, strict=True) if client is not None
    }
    waiting = Label.objects.raw(
        "SELECT * FROM inference_label "
        "WHERE model_id = %s AND prediction_id = '' AND given_id = ANY(%s::text[])",
        [rows.model_id, text_array([*times, *clients])],
    )
    joined = []
    for label in waiting:
        label.prediction_id = label.given_id if label.given_id in times else clients[label.given_id]
        label.prediction_time = datetime.fromtimestamp(times[label.prediction_id] / 1e6, UTC)
        joined.append(label)
    Label.objects.bulk_update(joined, ["prediction_id", "prediction_time"])


def _touch_predictions(model_id: int, ids: set[str]) -> None:
    """Mark the hours of every row, the champion's and the shadows', that these labels belong to."""
    if not ids:
        return
    rows = PredictionRow.objects.filter(model_id=model_id, prediction_id__in=ids)
    touched = {
        (model_id, version_id, role, floor(moment, "hour"))
        for version_id, role, moment in rows.values_list("version_id", "role", "event_time")
    }
    touch(TouchedPeriod, touched, fields=TOUCHED_FIELDS)
    periods_touched.send(sender=TouchedPeriod, model_id=model_id)


# -- what both writers say about bad items -----------------------------------------------------------------------------
def rejected(index: int, fault: ItemFault) -> ItemResult:
    return ItemResult(index=index, id=fault.id, status="rejected", error=fault)


def refuse_atomic(items: Iterable[Any]) -> Problem:
    """Refuse a whole `?atomic=true` request, naming every bad item."""
    faults = [
        FieldFault(item.pointer, item.code, item.detail) for item in items if isinstance(item, ItemFault)
    ]
    return Problem(422, "batch_refused", f"{len(faults)} items are wrong and nothing was stored.", faults)
