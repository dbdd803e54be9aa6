"""Writes labels in any order: before their prediction, after it, corrected later; each joins exactly once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from driftline.base.errors import FieldFault, Problem
from driftline.base.periods import floor, from_us
from driftline.base.work import advisory_locks
from driftline.base.work.advisory_locks import AdvisoryLock
from driftline.base.work.work_rows import touch
from inference.prediction_log.items import BatchResult, ItemFault, ItemResult, LabelItem, class_text
from inference.prediction_log.labels.changes import record_label_changes
from inference.prediction_log.labels.rows import (
    AT_EVENT,
    PREDICTION,
    CurrentLabel,
    NewLabel,
    add_labels,
    current_labels,
    does_any_wait,
    supersede,
)
from inference.prediction_log.labels.rows import join_waiting as join_rows
from inference.prediction_log.labels.selectors import Holding, holding_of, labels_at_times
from inference.prediction_log.labels.targets import (
    Found,
    LabelTarget,
    Searched,
    TargetRow,
    find_targets,
    not_searched,
    rows_of,
    search,
)
from inference.prediction_log.models import TouchedPeriod, UnsentLabel
from inference.prediction_log.rows.columns import LogColumns
from inference.prediction_log.rows_kept import refuse_without_rows
from inference.prediction_log.signals import periods_touched
from inference.prediction_log.storage import hooks
from inference.prediction_log.storage.array_literals import integer_array, text_array
from inference.prediction_log.storage.folded_labels import FoldedLabel
from inference.prediction_log.storage.packed_search import PackedPlace, labels_at
from inference.prediction_log.storage.partitions import WEEKS
from inference.registry.models import Model

TOUCHED_FIELDS = ("model_id", "version_id", "role", "hour")


def lock(model_id: int, *, exclusive: bool) -> None:
    """Keep the join whole until commit: a label may not look for its prediction while that is being written.

    Writers of predictions share the lock, a writer of labels has it alone. Taken before anything else is locked.
    """
    advisory_locks.lock(AdvisoryLock.LABEL_JOIN, model_id, shared=not exclusive)


def lock_summaries(model_id: int) -> None:
    """Lock the summaries of a model: one process at a time changes them. Take this lock before that of the labels."""
    advisory_locks.lock(AdvisoryLock.SUMMARIES, model_id)


# -- labels that arrive ------------------------------------------------------------------------------------------------
def log_labels(
    *,
    model: Model,
    items: Sequence[LabelItem | ItemFault],
    source: str,
    now: datetime,
    atomic: bool = False,
    searched: Searched | None = None,
) -> BatchResult:
    """Store the valid labels of one request in one commit and say what became of each.

    Who calls it in a transaction gives what `search_ahead` found before, as the lock would be held while it searches.
    """
    checked = [_checked(model, index, item) for index, item in enumerate(items)]
    if atomic and any(isinstance(item, ItemFault) for item in checked):
        raise refuse_atomic(checked)
    given = _ids_of(checked)
    searched = searched or Searched()
    while True:
        with transaction.atomic():
            lock(model.pk, exclusive=True)
            refuse_without_rows(model, "A label")  # under the lock that whoever changes that has alone
            WEEKS.keep()
            found = find_targets(model.pk, given, searched)
            missing = not_searched(model, given, found, searched)
            if not missing and not searched.is_out_of_date():
                results = _store(model, checked, source, now, found)
                if atomic and any(result.status == "ambiguous_id" for result in results):
                    raise Problem(
                        422, "ambiguous_id", "An id of this request belongs to more than one prediction."
                    )
                return BatchResult.of(results)
        searched = search(model, [*searched.ids, *missing])


def search_ahead(model: Model, items: Sequence[LabelItem | ItemFault]) -> Searched:
    """Search the packed weeks for labels that no newer row takes, without a lock, before a transaction logs them."""
    given = _ids_of(items)
    return search(model, not_searched(model, given, find_targets(model.pk, given, Searched()), Searched()))


def _ids_of(items: Iterable[LabelItem | ItemFault]) -> list[str]:
    return list(dict.fromkeys(item.id for item in items if isinstance(item, LabelItem)))


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
    model: Model, items: Sequence[LabelItem | ItemFault], source: str, now: datetime, found: Found
) -> list[ItemResult]:
    """Write a revision for each label that says something new; of several under one id each is one."""
    stored = current_labels(model.pk, (item.id for item in items if isinstance(item, LabelItem)))
    folded = labels_at(row for target in found.targets.values() for row in target.packed)
    current = _folded_labels(found.targets, folded) | stored
    results: list[ItemResult] = []
    fresh: dict[tuple[str, int], NewLabel] = {}
    touched: set[str] = set()
    changed: dict[tuple[str, datetime], Holding | None] = {}  # with the label that lies in the chunk
    for index, item in enumerate(items):
        if isinstance(item, ItemFault):
            results.append(rejected(index, item))
            continue
        if item.id in found.ambiguous:
            results.append(_ambiguous(index, item))
            continue
        value, before, target = class_text(item.label), current.get(item.id), found.targets.get(item.id)
        if before is not None and before.value == value:
            results.append(ItemResult(index, item.id, "duplicate"))
            continue
        label = _label(item, value, before, target)
        if before is not None:
            touched.add(before.prediction_id)
            if before.prediction_time is not None:
                changed[before.prediction_id, before.prediction_time] = None
            if (same := fresh.get((item.id, before.revision))) is not None:
                fresh[item.id, before.revision] = same._replace(is_current=False)
        fresh[item.id, label.revision] = label
        id_ = target.prediction_id if target else ""
        touched.add(id_)
        if target is not None:
            changed[id_, target.event_time] = _folded_holding(target, folded)
        current[item.id] = CurrentLabel(value, label.revision, id_, label.prediction_time)
        results.append(_stored(index, item, before, target))
    if fresh:
        current_now = labels_at_times(model.pk, (time for _, time in changed))
        record_label_changes(
            model.pk, {key: current_now.get(key[0], folded_one) for key, folded_one in changed.items()}
        )
        if replaced := stored.keys() & {id_ for id_, _ in fresh}:
            supersede(model.pk, replaced)
        add_labels(model.pk, list(fresh.values()), source=source, now=now)
        if hooks.is_sent_by_sink(model.pk, "labels"):
            UnsentLabel.objects.bulk_create(
                UnsentLabel(model=model, given_id=id_, revision=revision) for id_, revision in fresh
            )
        others = touched - {row.prediction_id for row in found.rows} - {""}
        _touch(model.pk, _hours([*found.rows, *rows_of(model.pk, others)], touched))
    return results


def _label(item: LabelItem, value: str, before: CurrentLabel | None, target: LabelTarget | None) -> NewLabel:
    return NewLabel(
        given_id=item.id,
        revision=before.revision + 1 if before else 1,
        is_current=True,
        value=value,
        labelled_at=_labelled_at(item, target),
        prediction_id=target.prediction_id if target and target.prediction_id != item.id else "",
        prediction_time=target.event_time if target else None,
    )


def _labelled_at(item: LabelItem, target: LabelTarget | None) -> datetime | None:
    if item.timestamp is not None or not item.is_known_at_event:
        return item.timestamp
    return target.event_time if target else AT_EVENT


def _folded_labels(
    targets: dict[str, LabelTarget], folded: Mapping[PackedPlace, Sequence[FoldedLabel]]
) -> dict[str, CurrentLabel]:
    """Return the current labels under the given ids that are folded into chunks."""
    current: dict[str, CurrentLabel] = {}
    for id_, target in targets.items():
        for row in target.packed:
            for label in folded.get((row.chunk, row.place), ()):
                if (label.client_id or target.prediction_id) == id_ and label.is_current:
                    current[id_] = CurrentLabel(
                        label.value, label.revision, target.prediction_id, target.event_time
                    )
    return current


def _folded_holding(
    target: LabelTarget, folded: Mapping[PackedPlace, Sequence[FoldedLabel]]
) -> Holding | None:
    """Return the current label of a prediction that is folded into its chunk."""
    labels = [label for row in target.packed for label in folded.get((row.chunk, row.place), ())]
    return max((holding_of(label) for label in labels if label.is_current), default=None)


def _stored(
    index: int, item: LabelItem, before: CurrentLabel | None, target: LabelTarget | None
) -> ItemResult:
    if target is None:
        return ItemResult(index, item.id, "pending_prediction")
    return ItemResult(index, item.id, "superseded" if before else "accepted")


def _ambiguous(index: int, item: LabelItem) -> ItemResult:
    detail = f"{item.id!r} is the client_id of more than one prediction; use the prediction id."
    fault = ItemFault(item.id, "ambiguous_id", detail, f"/labels/{index}/id")
    return ItemResult(index=index, id=item.id, status="ambiguous_id", error=fault)


def _hours(rows: Iterable[TargetRow], ids: set[str]) -> Iterator[tuple[int, str, datetime]]:
    """Yield the hours of every row, the champion's and the shadows', of these predictions."""
    for row in rows:
        if row.prediction_id in ids:
            hour = floor(row.event_time, "hour")
            yield row.version_id, row.role, hour


def _touch(model_id: int, hours: Iterable[tuple[int, str, datetime]]) -> None:
    touched = {(model_id, *hour) for hour in hours}
    if touched:
        touch(TouchedPeriod, touched, fields=TOUCHED_FIELDS)
        periods_touched.send(sender=TouchedPeriod, model_id=model_id)


# -- labels that waited ------------------------------------------------------------------------------------------------
def join_waiting(rows: LogColumns) -> list[tuple[int, str, datetime]]:
    """Attach labels that came before these predictions, in the caller's transaction.

    One that was told under a client id joins the first prediction that comes with it. Returns version, role and hour of
    what has a label now: copies that shadows answered may lie there longer than the answer.
    """
    if not does_any_wait(rows.model_id):
        return []
    times = dict(zip(rows.ids, rows.times_us.tolist(), strict=True))
    clients: dict[str, str] = {}
    for client, id_ in zip(rows.client_ids, rows.ids, strict=True):
        if client is not None:
            clients.setdefault(client, id_)
    joined = join_rows(rows.model_id, times, clients)
    record_label_changes(rows.model_id, {(id_, from_us(times[id_])): None for id_ in joined})
    return list(_hours(rows_of(rows.model_id, joined), joined))


# -- labels that are erased --------------------------------------------------------------------------------------------
def forget(model_id: int, rows: Sequence[tuple[str, int, str | None]]) -> int:
    """Delete the labels of predictions that are erased, and those that wait under their ids, in all revisions.

    A row is an id, its event time in microseconds and its client id: an id may come again after the dedupe window,
    and the label of that one stays. Those that are folded go with the rows of their chunk, and no sink sends any of
    them later. Call it under the model's lock; returns how many labels were deleted.
    """
    if not rows:
        return 0
    ids, times, clients = zip(*rows, strict=True)
    given_ids = text_array([*ids, *filter(None, clients)])
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM inference_label WHERE model_id = %s AND given_id IN ("
            "SELECT given_id FROM inference_label AS label JOIN unnest(%s::text[], %s::bigint[]) AS erased (id, us) "
            f"ON {PREDICTION} = erased.id "
            "AND label.prediction_time = 'epoch'::timestamptz + erased.us * interval '1 microsecond' "
            "WHERE label.model_id = %s AND label.given_id = ANY(%s::text[]) AND label.is_current)",
            [model_id, text_array(ids), integer_array(times), model_id, given_ids],
        )
        joined = int(cursor.rowcount)
        cursor.execute(
            "DELETE FROM inference_label "
            "WHERE model_id = %s AND prediction_time IS NULL AND given_id = ANY(%s::text[])",
            [model_id, given_ids],
        )
        waiting = int(cursor.rowcount)
        cursor.execute(
            "DELETE FROM inference_unsentlabel AS unsent WHERE model_id = %s AND given_id = ANY(%s::text[]) "
            "AND NOT EXISTS (SELECT FROM inference_label AS label WHERE label.model_id = unsent.model_id "
            "AND label.given_id = unsent.given_id AND label.revision = unsent.revision)",
            [model_id, given_ids],
        )
        return joined + waiting


# -- what both writers say about bad items -----------------------------------------------------------------------------
def rejected(index: int, fault: ItemFault) -> ItemResult:
    return ItemResult(index=index, id=fault.id, status="rejected", error=fault)


def refuse_atomic(items: Iterable[Any]) -> Problem:
    """Refuse a whole `?atomic=true` request, naming every bad item."""
    faults = [
        FieldFault(item.pointer, item.code, item.detail) for item in items if isinstance(item, ItemFault)
    ]
    return Problem(422, "batch_refused", f"{len(faults)} items are wrong and nothing was stored.", faults)
