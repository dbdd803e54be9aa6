"""Writes predictions: narrow rows refuse doubles, chunks hold the rest, and touched hours are marked, in one commit."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache, partial
from itertools import chain, groupby
from operator import attrgetter

import msgspec
import numpy as np
from django.db import InterfaceError, OperationalError, connection
from numpy.typing import NDArray

from driftline.base.errors import Problem
from driftline.base.work.work_rows import touch
from inference.prediction_log.encryption.sealed_chunks import sealer
from inference.prediction_log.ingest.arrival import in_arrival_week
from inference.prediction_log.ingest.group_commit import GroupCommit
from inference.prediction_log.ingest.model_policies import (
    find_misfit_vectors,
    find_refused,
    vectors_by_version,
)
from inference.prediction_log.ingest.request_counts import add_request_counts
from inference.prediction_log.items import BatchResult, ItemFault, ItemResult
from inference.prediction_log.labels import services as labels
from inference.prediction_log.models import SpoolCursor, TouchedPeriod
from inference.prediction_log.rows.columns import LogColumns, concatenate, from_batches, from_sent, shape_of
from inference.prediction_log.rows.sent_columns import PredictionBatch, SentColumns
from inference.prediction_log.signals import periods_touched
from inference.prediction_log.spool.record import LoggedBatch, Record, RequestCounts
from inference.prediction_log.storage import binary_copy, narrow_rows
from inference.registry.models import Model, Version
from inference.registry.selectors import privacy_of, signature_of, unlearnt_signature
from inference.registry.vector_dimensions import dimensions_of, remember_dimensions
from inference.signatures import Signature

_ROWS_OF_A_CHUNK = 10_000  # no commit of several requests holds more
MAX_WAIT_SECONDS = 10.0  # of the request that waits the longest: beyond, others have to come again


# -- from the spool ----------------------------------------------------------------------------------------------------
def store_records(records: Sequence[Record], *, spool: str, segment: int, offset: int, torn: int = 0) -> int:
    """Store what was spooled and move the spool's cursor in the same commit; returns the rows that were new."""
    groups = _group([record for record in records if isinstance(record, LoggedBatch)])
    counts = [record for record in records if isinstance(record, RequestCounts)]

    def store(week: date, *, all_new: bool) -> int:
        stored = sum(int(_store(columns, week, all_new=all_new).sum()) for columns in groups)
        add_request_counts(counts)
        SpoolCursor.objects.update_or_create(
            name=spool, defaults={"segment": segment, "offset": offset, "torn": torn}
        )
        return stored

    return _commit(store)


def _group(batches: Sequence[LoggedBatch]) -> list[LogColumns]:
    """Put batches of one version, role and shape together; rows of versions that were deleted since are dropped."""
    groups: dict[tuple[int, int, str, tuple[str, ...]], list[LogColumns]] = {}
    for alike in _alike(batches):
        signature = _signature(alike[0].version_id)
        if signature is not None:
            columns = _protect(from_batches(alike, signature), signature.image_input)
            groups.setdefault(columns.key, []).append(columns)
    return [concatenate(parts) for _, parts in sorted(groups.items())]


def _alike(batches: Sequence[LoggedBatch]) -> list[list[LoggedBatch]]:
    """Part batches into runs that can be read together: what came first of a version and role stays first."""
    runs: list[list[LoggedBatch]] = []
    last: dict[tuple[int, str], tuple[tuple[object, ...], list[LoggedBatch]]] = {}
    for batch in batches:
        key, shape = (batch.version_id, batch.role), shape_of(batch)
        before = last.get(key)
        if before is not None and before[0] == shape:
            before[1].append(batch)
        else:
            runs.append([batch])
            last[key] = shape, runs[-1]
    return runs


@lru_cache(maxsize=1024)
def _signature(version_id: int) -> Signature | None:
    version = Version.objects.select_related("model").filter(pk=version_id).first()
    return signature_of(version) if version else None


# -- from the logging API ----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Version:
    """What the log needs to know of a version; `declared` is None where nobody has named its features yet."""

    pk: int
    declared: Signature | None
    has_vectors: bool = False
    is_served: bool = False

    def signature(self, task: str) -> Signature:
        return self.declared or unlearnt_signature(task)


@dataclass(frozen=True)
class _Request:
    """The items of one request that can be kept."""

    model: Model
    columns: SentColumns
    versions: dict[str, _Version]
    now: datetime
    is_atomic: bool

    def __len__(self) -> int:
        return len(self.columns)


@dataclass(frozen=True)
class _Part:
    """The items of one request that are of one version and role, as they were sent and as the log keeps them."""

    request: int
    sent: SentColumns
    columns: LogColumns


def log_predictions(
    *, model: Model, batch: PredictionBatch, now: datetime, atomic: bool = False, alone: bool = False
) -> BatchResult:
    """Store the items of one request that can be kept in one commit, and say what became of each.

    With `atomic`, one bad item refuses the whole request. With `alone` it shares no commit with other requests, so
    that the caller's transaction may hold more.
    """
    versions = _find_versions(model, set(batch.columns.versions))
    faults = batch.faults
    if len(batch.columns):
        declared = {name: known.declared for name, known in versions.items() if known.declared}
        served = {name for name, known in versions.items() if known.is_served}
        faults = faults | find_refused(model, batch.columns, declared, now, served)
        if batch.columns.dimensions or any(known.has_vectors for known in versions.values()):
            keys = {name: known.pk for name, known in versions.items()}
            faults |= find_misfit_vectors(batch.columns, keys, dimensions_of(keys.values()))
    if atomic and faults:
        raise labels.refuse_atomic([faults[place] for place in sorted(faults)])
    columns = batch.columns
    if len(faults) > len(batch.faults):
        columns = columns.take(~np.isin(columns.places, list(faults)))
    request = _Request(model, columns, versions, now, atomic)
    results: list[ItemResult] = []
    if len(columns):
        results = _commit_requests([request])[0] if alone else _commits_of(model.pk).share(request)
    rejected = [labels.rejected(place, fault) for place, fault in faults.items()]
    return BatchResult.of(sorted(rejected + results, key=attrgetter("index")))


def refuse_while_behind(model: Model) -> None:
    """Raise Problem 503 while requests of this model wait too long for their commit: another would only wait too."""
    waited = _commits_of(model.pk).waiting_s()
    if waited > MAX_WAIT_SECONDS:
        detail = (
            f"Predictions of this model have waited {waited:,.0f} s for the database; nothing was stored."
        )
        raise Problem(503, "log_behind", detail, retry_after=math.ceil(MAX_WAIT_SECONDS / 2))


def _find_versions(model: Model, names: set[str]) -> dict[str, _Version]:
    # written out: making it from a query set, and objects of its rows, costs six times as much as asking it
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT version, id, signature, EXISTS (SELECT FROM inference_vectorfeature v WHERE v.version_id = w.id), "
            "sha256 <> '' OR endpoint IS NOT NULL FROM inference_version w WHERE model_id = %s AND version = ANY(%s)",
            [model.pk, sorted(names)],
        )
        found = cursor.fetchall()
    return {name: _Version(pk, _declared(stored), *flags) for name, pk, stored, *flags in found}


@lru_cache(maxsize=256)
def _declared(stored: str | None) -> Signature | None:
    """Read a signature as the database has it: as JSON, which the driver leaves alone."""
    return msgspec.json.decode(stored, type=Signature) if stored else None


def _commit_requests(requests: Sequence[_Request]) -> list[list[ItemResult]]:
    return _commit(partial(_store_requests, requests))


def _store_requests(requests: Sequence[_Request], week: date, *, all_new: bool) -> list[list[ItemResult]]:
    """Store what was sent, the rows of one version, role and shape together; gives each request its results."""
    results: list[list[ItemResult]] = [[] for _ in requests]
    parts = [part for place, request in enumerate(requests) for part in _parts_of(place, request)]
    parts.sort(key=lambda part: part.columns.key)
    for _, group in groupby(parts, key=lambda part: part.columns.key):
        for part, found in _store_parts(list(group), week, all_new=all_new):
            results[part.request] += found
    for request, found in zip(requests, results, strict=True):
        if request.is_atomic and any(result.status == "conflict" for result in found):
            raise Problem(
                422, "conflict", "An id of this request is taken by a prediction with another body."
            )
    return results


@lru_cache(maxsize=1024)
def _commits_of(model_id: int) -> GroupCommit[_Request, list[ItemResult]]:
    """Return the turns of one model's requests: while somebody locks a model, the others are logged."""
    return GroupCommit(
        _commit_requests, dooms=(OperationalError, InterfaceError), turns=2, max_items=_ROWS_OF_A_CHUNK
    )


def _parts_of(place: int, request: _Request) -> Iterator[_Part]:
    """Part a request's items by version and role; a version that is not there yet is made."""
    columns, model = request.columns, request.model
    groups = sorted(set(zip(columns.versions, columns.roles, strict=True)))
    for name, role in groups:
        version = request.versions.get(name) or _make_version(model, name)
        sent = columns
        if len(groups) > 1:
            sent = columns.take((columns.versions == name) & (columns.roles == role))
        if sent.dimensions:
            found = {vector: rows[0] for _, vector, rows in vectors_by_version(sent)}
            remember_dimensions(
                version.pk, {vector: int(sent.dimensions[vector][row]) for vector, row in found.items()}
            )
        kept = from_sent(
            sent,
            model_id=model.pk,
            version_id=version.pk,
            signature=version.signature(model.task),
            now=request.now,
        )
        yield _Part(place, sent, _protect(kept))


def _make_version(model: Model, name: str) -> _Version:
    from inference.registry.versions import external_version

    made = external_version(model=model, version=name)  # or found, where another request made it meanwhile
    return _Version(made.pk, msgspec.convert(made.signature, Signature) if made.signature else None)


def _store_parts(
    parts: Sequence[_Part], week: date, *, all_new: bool
) -> Iterator[tuple[_Part, list[ItemResult]]]:
    columns = concatenate([part.columns for part in parts])
    is_new = _store(columns, week, all_new=all_new)
    known = narrow_rows.known_hashes(columns, ~is_new)
    ends = np.cumsum([len(part.sent) for part in parts])
    for part, new in zip(parts, np.split(is_new, ends[:-1]), strict=True):
        yield part, _results(part.sent, new, known)


def _results(sent: SentColumns, is_new: NDArray[np.bool_], known: Mapping[str, int]) -> list[ItemResult]:
    places = sent.places.tolist()
    if is_new.all():
        return [ItemResult(place, id_, "accepted") for place, id_ in zip(places, sent.ids, strict=True)]
    return [
        ItemResult(place, id_, "accepted") if new else _known(place, id_, is_same=known.get(id_) == body_hash)
        for place, id_, new, body_hash in zip(places, sent.ids, is_new, sent.body_hash, strict=True)
    ]


def _known(place: int, id_: str, *, is_same: bool) -> ItemResult:
    if is_same:
        return ItemResult(place, id_, "duplicate")
    detail = f"The id {id_!r} is taken by a prediction with another body."
    return ItemResult(place, id_, "conflict", ItemFault(id_, "conflict", detail, f"/predictions/{place}/id"))


# -- what is not kept as it was sent ---------------------------------------------------------------------------------
def _protect(columns: LogColumns, image: str | None = None) -> LogColumns:
    """Hash or drop what the model does not want to keep, with thumbnails of an image, before anything is written."""
    privacy = privacy_of(columns.model_id)
    if not privacy:
        return columns
    protected = columns.with_features(privacy.protect(columns.features))
    return protected if image is None or privacy.keeps_image(image) else protected.without_thumbnails()


# -- one version's rows ------------------------------------------------------------------------------------------------
def _commit[Result](store: Callable[..., Result]) -> Result:
    """Store in one commit, at first as if no prediction were in the log already, which is the rule and cheap."""
    try:
        return in_arrival_week(partial(store, all_new=True))
    except narrow_rows.HasRow:
        return in_arrival_week(partial(store, all_new=False))


def _store(columns: LogColumns, week: date, *, all_new: bool) -> NDArray[np.bool_]:
    """Store the rows that are not in the log yet, in the caller's transaction, and mark them.

    Of several rows with one id the first counts. With `all_new`, one that is there raises HasRow.
    """
    labels.lock(columns.model_id, exclusive=False)
    is_new = _first_of_each_id(columns)
    if all_new:
        narrow_rows.add_all(columns if is_new.all() else columns.take(is_new), week)
    else:
        is_new = narrow_rows.add_new(columns, is_new, week)
    if is_new.any():
        rows = columns if is_new.all() else columns.take(is_new)
        _add_chunks(rows, week)
        labelled = labels.join_waiting(rows) if rows.role != "shadow" else []
        touched = {(rows.model_id, rows.version_id, rows.role, hour) for hour in rows.hours()}
        touched |= {(rows.model_id, *hour_of_source) for hour_of_source in labelled}
        touch(TouchedPeriod, touched, fields=labels.TOUCHED_FIELDS)
        periods_touched.send(sender=TouchedPeriod, model_id=rows.model_id)
    return is_new


def _first_of_each_id(columns: LogColumns) -> NDArray[np.bool_]:
    ids = columns.ids.tolist()
    if len(set(ids)) == len(ids):
        return np.ones(len(ids), bool)
    first = dict(zip(reversed(ids), range(len(ids) - 1, -1, -1), strict=True))
    mask = np.zeros(len(columns), bool)
    mask[list(first.values())] = True
    return mask


_CHUNK_COLUMNS = ("model_id", "version_id", "role", "day", "week", "rows", "start", "end", "payload")


def _add_chunks(columns: LogColumns, week: date) -> None:
    seal = sealer()
    with connection.cursor() as cursor:
        chunks = chain.from_iterable(_chunk(rows, day, week, seal) for day, rows in columns.by_day())
        binary_copy.copy_rows(cursor.cursor, "inference_predictionchunk", _CHUNK_COLUMNS, list(chunks))


def _chunk(rows: LogColumns, day: date, week: date, seal: Callable[[bytes], bytes]) -> list[bytes]:
    """Write a chunk's row in parts: its payload is long, and joined to others once only."""
    payload = seal(rows.to_arrow())
    return [
        binary_copy.start_of_row(len(_CHUNK_COLUMNS)),
        binary_copy.bigint(rows.model_id),
        binary_copy.bigint(rows.version_id),
        binary_copy.content(rows.role.encode()),
        binary_copy.day(day),
        binary_copy.day(week),
        binary_copy.integer(len(rows)),
        binary_copy.moment(int(rows.times_us.min())),
        binary_copy.moment(int(rows.times_us.max())),
        binary_copy.length(len(payload)),
        payload,
    ]
