"""Predictions that are still to be sent: fresh chunks by their flag, packed ones by `UnsentChunk`.

A chunk that is packed while it is sent is sent again within the other. What is erased is taken out of its chunk, so it
is not sent later.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import NamedTuple

from django.conf import settings
from django.db.models import Min, Q, QuerySet, Sum

from driftline.base.accounts.models import Project
from driftline.base.periods import from_us
from inference.prediction_log.encryption.sealed_chunks import ChunkDamaged
from inference.prediction_log.models import PredictionChunk, PredictionRole, UnsentChunk, size_of
from inference.prediction_log.queries.frames import ChunkRows, LogFrame, frame_from
from inference.prediction_log.spool.privacy import DROP, HASH, SUMMARY, Privacy
from inference.prediction_log.storage.chunk_rows import read_rows
from inference.registry.models import Model, RowsKept, Version
from monitors.sinks.models import SinkStream
from monitors.sinks.streams.stream import Backlog, SinkBatch, SinkMessage, StreamReader, message_of

MAX_ROWS = 10_000  # of a batch; a packed chunk is one
MAX_BYTES = 8 << 20
MAX_CHUNKS = 500


class UnsentPart(NamedTuple):
    """A chunk of which the rows are still to be sent."""

    pk: int
    day: date
    is_packed: bool


def next_batch(stream: SinkStream) -> SinkBatch | None:
    """Return the rows that wait the longest; rows that a model does not keep are not sent."""
    project = stream.sink.project
    chunks = _next_packed(project) or _next_fresh(project)
    if not chunks:
        return None
    damaged = dict[int, int]()
    return SinkBatch(_messages(project, chunks, damaged), lambda: _finish(project, chunks, damaged))


def _next_packed(project: Project) -> list[UnsentPart]:
    oldest = _packed(project).filter(is_dropped=False).order_by("created_at", "pk")[:1]
    return [UnsentPart(pk, day, True) for pk, day in oldest.values_list("pk", "day")]


def _next_fresh(project: Project) -> list[UnsentPart]:
    fields = ("pk", "day", "rows", size_of("payload"))
    chosen = list[UnsentPart]()
    rows = size = 0
    for pk, day, count, length in _fresh(project).order_by("pk").values_list(*fields)[:MAX_CHUNKS]:
        if chosen and (rows + count > MAX_ROWS or size + length > MAX_BYTES):
            break
        chosen.append(UnsentPart(pk, day, False))
        rows, size = rows + count, size + length
    return chosen


def _fresh(project: Project) -> QuerySet[PredictionChunk]:
    return PredictionChunk.objects.filter(
        is_packed=False, is_sent=False, model__project=project, model__rows_kept=RowsKept.ALL
    )


def _packed(project: Project) -> QuerySet[UnsentChunk]:
    return UnsentChunk.objects.filter(model__project=project, model__rows_kept=RowsKept.ALL)


def _dropped(project: Project) -> QuerySet[UnsentChunk]:
    """Select what retention dropped before it was sent, until a batch counts it."""
    return UnsentChunk.objects.filter(model__project=project, is_dropped=True)


# -- messages ----------------------------------------------------------------------------------------------------------
def _messages(project: Project, chunks: list[UnsentPart], damaged: dict[int, int]) -> Iterator[SinkMessage]:
    """Read chunk by chunk; of one that cannot be read the rows are counted in `damaged`."""
    versions = dict[int, Version]()
    for pk, day, is_packed in chunks:
        stored = PredictionChunk.objects.filter(pk=pk, day=day, is_packed=is_packed)
        found = stored.values_list("version_id", "role", "rows", "payload").first()
        if found is None:
            continue  # it was packed into another, or dropped, meanwhile
        version_id, role, rows, payload = found
        version = versions.get(version_id) or Version.objects.select_related("model").get(pk=version_id)
        versions[version_id] = version
        try:
            batch = read_rows(payload)
        except ChunkDamaged:
            damaged[pk] = rows
            continue
        frame = frame_from([ChunkRows(version_id, batch, None)], {})
        yield from _describe(project, version, role, frame, batch.column("client_id").to_pylist())


def _describe(
    project: Project, version: Version, role: str, frame: LogFrame, clients: list[str | None]
) -> Iterator[SinkMessage]:
    """Write rows as `GET /predictions` has them, without their labels, which are a stream of their own."""
    name = version.model.name
    features = _features(version.model, frame)
    copy_of = version.version if role == PredictionRole.SHADOW else ""
    probability = [None] * len(frame.ids) if frame.probability is None else frame.probability.tolist()
    columns = zip(
        frame.ids, clients, frame.times_us.tolist(), (frame.latency_us / 1e3).tolist(), frame.prediction.tolist(),
        probability, strict=True,
    )  # fmt: skip
    for row, (id_, client, time_us, latency_ms, prediction, score) in enumerate(columns):
        value = {
            "id": id_,
            "client_id": client,
            "timestamp": from_us(time_us),
            "version": version.version,
            "role": role,
            "latency_ms": latency_ms,
            "features": {feature: values[row] for feature, values in features.items()},
            "prediction": prediction,
            "probability": score,
        }
        yield message_of(project, name, id_, value, copy_of=copy_of)


def _features(model: Model, frame: LogFrame) -> Mapping[str, list[float | str | None]]:
    """Return the values that the model's policies of now let out, whatever they were when the rows were stored."""
    privacy = Privacy(model.pk, model.privacy, settings.HASH_KEY)
    found = dict[str, list[float | str | None]]()
    for name, values in frame.features.items():
        policy = privacy.of(name)
        if name in frame.dropped or policy in (DROP, SUMMARY):
            continue
        plain = values.tolist()
        found[name] = [*privacy.hash_values(name, plain)] if policy == HASH else plain
    return found


# -- what was sent -----------------------------------------------------------------------------------------------------
def _finish(project: Project, chunks: list[UnsentPart], damaged: dict[int, int]) -> int:
    """Mark chunks as sent, in the order in which all lock them; returns the rows that were damaged or dropped."""
    for is_packed in (False, True):
        some = [chunk for chunk in chunks if chunk.is_packed is is_packed]
        if some:
            days, keys = {chunk.day for chunk in some}, [chunk.pk for chunk in some]
            _mark(PredictionChunk.objects.filter(is_packed=is_packed, day__in=days, pk__in=keys))
    _packed(project).filter(pk__in=[chunk.pk for chunk in chunks if chunk.is_packed]).delete()
    dropped = _dropped(project)
    rows = sum(dropped.select_for_update(of=("self",)).values_list("rows", flat=True))
    if rows:
        dropped.delete()
    return rows + sum(damaged.values())


def _mark(chunks: QuerySet[PredictionChunk]) -> None:
    """Mark chunks as sent; rows that are only joined, such as their models, are not locked."""
    keys = list(chunks.order_by("pk").select_for_update(of=("self",)).values_list("pk", flat=True))
    chunks.filter(pk__in=keys).update(is_sent=True)


def backlog(stream: SinkStream) -> Backlog:
    project = stream.sink.project
    parts = [
        rows.aggregate(rows=Sum("rows", default=0), since=Min("created_at"))
        for rows in (_fresh(project), _packed(project).filter(is_dropped=False))
    ]
    since = [part["since"] for part in parts if part["since"] is not None]
    lost = _dropped(project).aggregate(rows=Sum("rows", default=0))["rows"]
    return Backlog(sum(part["rows"] for part in parts), min(since, default=None), lost)


def begin(stream: SinkStream) -> None:
    """Mark what is stored already as sent; what is committed from now on is sent."""
    _mark(PredictionChunk.objects.filter(is_packed=False, is_sent=False, model__project=stream.sink.project))


def end(project: Project) -> None:
    """Forget what was still to be sent."""
    unsent = UnsentChunk.objects.filter(model__project=project)
    days = set(unsent.values_list("day", flat=True))
    if days:
        _mark(
            PredictionChunk.objects.filter(
                Q(model__project=project), is_packed=True, is_sent=False, day__in=days
            )
        )
    unsent.delete()


PREDICTIONS = StreamReader(next_batch, backlog, begin, end)
