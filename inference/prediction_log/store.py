"""Writes predictions: narrow rows refuse doubles, chunks hold the rest, and touched hours are marked, in one commit."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from django.db import connection, transaction
from numpy.typing import NDArray

from driftline.common.errors import Problem
from driftline.common.work import touch
from inference.prediction_log import labels
from inference.prediction_log.array_literals import integer_array, text_array
from inference.prediction_log.columns import LogColumns, concatenate, from_batch, from_items
from inference.prediction_log.items import BatchResult, ItemFault, ItemResult, PredictionItem
from inference.prediction_log.models import PredictionChunk, SpoolCursor, TouchedPeriod
from inference.prediction_log.record import LoggedBatch
from inference.prediction_log.signals import periods_touched
from inference.registry.models import Model, Version
from inference.registry.selectors import signature_of
from inference.registry.services import external_version
from inference.serving.plan import Signature

_ANSWERED, _SHADOWED = (
    "(model_id, prediction_id) WHERE (NOT (role = 'shadow'))",
    ("(model_id, prediction_id, version_id) WHERE (role = 'shadow')"),
)


# -- from the spool ----------------------------------------------------------------------------------------------------
def store_batches(
    batches: Sequence[LoggedBatch], *, spool: str, segment: int, offset: int, torn: int = 0
) -> int:
    """Store spooled micro-batches and move the spool's cursor in the same commit; returns the rows that were new."""
    with transaction.atomic():
        stored = sum(_store(columns) for columns in _group(batches))
        SpoolCursor.objects.update_or_create(
            name=spool, defaults={"segment": segment, "offset": offset, "torn": torn}
        )
    return stored


def _group(batches: Sequence[LoggedBatch]) -> list[LogColumns]:
    """Put batches of one version and role together; rows of versions that were deleted since are let go."""
    groups: dict[tuple[int, int, str], list[LogColumns]] = {}
    for batch in batches:
        signature = _signature(batch.version_id)
        if signature is not None:
            key = (batch.model_id, batch.version_id, batch.role)
            groups.setdefault(key, []).append(from_batch(batch, signature))
    return [concatenate(parts) for _, parts in sorted(groups.items())]


@lru_cache(maxsize=1024)
def _signature(version_id: int) -> Signature | None:
    version = Version.objects.select_related("model").filter(pk=version_id).first()
    return signature_of(version) if version else None


# -- from the logging API ----------------------------------------------------------------------------------------------
def log_predictions(
    *,
    model: Model,
    items: Sequence[PredictionItem | ItemFault],
    source: str,
    now: datetime,
    atomic: bool = False,
) -> BatchResult:
    """Store the valid items of one request in one commit and say what became of each.

    With `atomic`, one bad item refuses the whole request.
    """
    versions = _known_versions(model, items)
    checked = _check_items(model, items, versions)
    if atomic and any(isinstance(item, ItemFault) for item in checked):
        raise labels.refuse_atomic(checked)
    results = {
        index: labels.rejected(index, item)
        for index, item in enumerate(checked)
        if isinstance(item, ItemFault)
    }
    with transaction.atomic():
        for version, role, indexed in _by_version(model, checked, versions):
            columns = from_items(
                [item for _, item in indexed],
                model_id=model.pk,
                version_id=version.pk,
                role=role,
                signature=signature_of(version),
                now=now,
            )
            fresh = _keep_first(columns)
            is_new = _store_mask(columns, fresh)
            known = _known_hashes(columns, ~is_new)
            for position, (index, item) in enumerate(indexed):
                results[index] = _result(index, item, bool(is_new[position]), known)
        if atomic and any(result.status == "conflict" for result in results.values()):
            raise Problem(
                422, "conflict", "An id of this request is taken by a prediction with another body."
            )
    return BatchResult.of([results[index] for index in range(len(items))])


type _Known = dict[str, Version | None]


def _known_versions(model: Model, items: Sequence[PredictionItem | ItemFault]) -> _Known:
    """Find the version of each name that the items give; None for one that is not there yet."""
    names = {item.version for item in items if isinstance(item, PredictionItem)}
    found = {version.version: version for version in model.versions.filter(version__in=names)}
    return {name: found.get(name) for name in names}


def _check_items(
    model: Model, items: Sequence[PredictionItem | ItemFault], versions: _Known
) -> list[PredictionItem | ItemFault]:
    signatures = {
        name: msgspec.convert(version.signature, Signature) if version and version.signature else None
        for name, version in versions.items()
    }
    return [
        _fault_of(index, item, model, signatures[item.version]) or item
        if isinstance(item, PredictionItem)
        else item
        for index, item in enumerate(items)
    ]


def _fault_of(
    index: int, item: PredictionItem, model: Model, signature: Signature | None
) -> ItemFault | None:
    """Check one item against its version's signature; never coerce silently."""
    pointer = f"/predictions/{index}"
    if model.task in ("regression", "ranking") and isinstance(item.prediction, str):
        return ItemFault(
            item.id, "wrong_type", "The prediction of a regression is a number.", f"{pointer}/prediction"
        )
    if model.task == "multiclass" and isinstance(item.probabilities, float):
        return ItemFault(
            item.id,
            "invalid_probability",
            "Send {class: p} for more than two classes.",
            f"{pointer}/probabilities",
        )
    for feature in signature.features if signature else ():
        value = item.features.get(feature.name)
        if value is not None and isinstance(value, str) != (feature.type == "string"):
            expected = "text" if feature.type == "string" else "a number"
            return ItemFault(
                item.id,
                "wrong_type",
                f"Feature {feature.name!r} is {str(value)[:64]!r}; use {expected} or null.",
                f"{pointer}/features/{feature.name}",
            )
    return None


def _by_version(
    model: Model, items: Sequence[PredictionItem | ItemFault], versions: _Known
) -> Iterator[tuple[Version, str, list[tuple[int, PredictionItem]]]]:
    """Put the valid items of one version and role together; a version that is not there yet is made."""
    groups: dict[tuple[str, str], list[tuple[int, PredictionItem]]] = {}
    for index, item in enumerate(items):
        if isinstance(item, PredictionItem):
            groups.setdefault((item.version, item.role), []).append((index, item))
    for (name, role), indexed in groups.items():
        yield versions[name] or external_version(model=model, version=name), role, indexed


def _result(index: int, item: PredictionItem, is_new: bool, known: dict[str, int]) -> ItemResult:
    if is_new:
        return ItemResult(index=index, id=item.id, status="accepted", error=None)
    if known.get(item.id) == item.body_hash:
        return ItemResult(index=index, id=item.id, status="duplicate", error=None)
    fault = ItemFault(
        item.id,
        "conflict",
        f"The id {item.id!r} is taken by a prediction with another body.",
        f"/predictions/{index}/id",
    )
    return ItemResult(index=index, id=item.id, status="conflict", error=fault)


def _known_hashes(columns: LogColumns, where: NDArray[np.bool_]) -> dict[str, int]:
    if not where.any():
        return {}
    condition = (
        "role = 'shadow' AND version_id = %s" if columns.role == "shadow" else "role <> 'shadow' AND %s > 0"
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT prediction_id, body_hash FROM inference_predictionrow "
            f"WHERE model_id = %s AND {condition} AND prediction_id = ANY(%s::text[])",
            [columns.model_id, columns.version_id, text_array(columns.ids[where])],
        )
        return dict(cursor.fetchall())


# -- one version's rows ------------------------------------------------------------------------------------------------
def _store(columns: LogColumns) -> int:
    return int(_store_mask(columns, _keep_first(columns)).sum())


def _keep_first(columns: LogColumns) -> NDArray[np.bool_]:
    """Mark the first row of each id."""
    first = dict(zip(reversed(columns.ids), range(len(columns) - 1, -1, -1), strict=True))
    mask = np.zeros(len(columns), bool)
    mask[list(first.values())] = True
    return mask


def _store_mask(columns: LogColumns, candidates: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Store the candidates whose ids are not in the log yet, in the caller's transaction; marks the rows stored."""
    labels.lock(columns.model_id, exclusive=False)
    fresh = _insert_narrow(columns, candidates)
    is_new = candidates & np.fromiter(map(fresh.__contains__, columns.ids), bool, len(columns))
    if is_new.any():
        rows = columns if is_new.all() else columns.take(is_new)
        _insert_chunks(rows)
        if rows.role != "shadow":
            labels.join_waiting(rows)
        touched = [(rows.model_id, rows.version_id, rows.role, hour) for hour in rows.hours()]
        touch(TouchedPeriod, touched, fields=labels.TOUCHED_FIELDS)
        periods_touched.send(sender=TouchedPeriod, model_id=rows.model_id)
    return is_new


def _insert_narrow(columns: LogColumns, candidates: NDArray[np.bool_]) -> set[str]:
    """Insert narrow rows in id order (two writers cannot deadlock) and tell which ids were new."""
    places = np.flatnonzero(candidates)
    order = places[np.argsort(columns.ids[places].astype(str))]
    target = _SHADOWED if columns.role == "shadow" else _ANSWERED
    arguments: list[Any] = [
        columns.model_id,
        columns.version_id,
        columns.role,
        *(text_array(texts[order]) for texts in (columns.ids, columns.client_ids)),
        *(integer_array(numbers[order].tolist()) for numbers in (columns.times_us, columns.body_hash)),
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO inference_predictionrow "
            "(model_id, version_id, role, prediction_id, client_id, event_time, body_hash) "
            "SELECT %s, %s, %s, id, client_id, 'epoch'::timestamptz + us * interval '1 microsecond', body_hash "
            "FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[]) AS given (id, client_id, us, body_hash) "
            f"ON CONFLICT {target} DO NOTHING RETURNING prediction_id",
            arguments,
        )
        return {row[0] for row in cursor.fetchall()}


def _insert_chunks(columns: LogColumns) -> None:
    PredictionChunk.objects.bulk_create(
        PredictionChunk(
            model_id=rows.model_id,
            version_id=rows.version_id,
            role=rows.role,
            day=day,
            rows=len(rows),
            start=_moment(int(rows.times_us.min())),
            end=_moment(int(rows.times_us.max())),
            payload=rows.to_arrow(),
        )
        for day, rows in columns.by_day()
    )


def _moment(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1e6, UTC)
