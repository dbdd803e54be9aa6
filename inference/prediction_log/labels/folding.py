"""Folds labels into the chunk of their prediction once its narrow row was dropped, and deletes those of dropped days.

Whoever folds a chunk has the lock of its model's labels: a writer of labels finds each either here or there. Chunks
are folded one a commit, so whoever is killed has done some of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from django.db import connection, transaction

from driftline.base.periods import start_of_day
from inference.prediction_log.encryption.sealed_chunks import ChunkDamaged, sealer
from inference.prediction_log.labels import services as label_log
from inference.prediction_log.labels.rows import PREDICTION
from inference.prediction_log.labels.selectors import ids_of
from inference.prediction_log.models import PredictionChunk
from inference.prediction_log.storage.array_literals import integer_array, text_array
from inference.prediction_log.storage.damaged_chunks import describe_damaged, mark_damaged
from inference.prediction_log.storage.folded_labels import FoldedLabel, FoldedLabels
from inference.prediction_log.storage.partitions import oldest_week


@dataclass(frozen=True)
class LabelledDay:
    """A model's event day of which labels lie in rows of their own."""

    model_id: int
    day: date
    is_gone: bool  # no prediction of it is left


def fold_labels() -> int:
    """Fold or delete every label that need not have a row of its own; returns how many those were.

    A label that a sink has yet to send stays in rows of its own, unless its day is not kept any more.
    """
    week = oldest_week()
    done = 0
    for labelled in _find_days(week):
        if labelled.is_gone:
            done += _delete_labels(labelled)
            continue
        for pk in _chunks_of(labelled, week):
            done += _fold(labelled, pk)
    return done


def _find_days(week: date) -> list[LabelledDay]:
    with connection.cursor() as cursor:
        cursor.execute(_DAYS, [week])
        return [LabelledDay(*found) for found in cursor.fetchall()]


# Goes from day to day through the index, however many labels a day has.
_DAYS = """
WITH RECURSIVE labelled AS (
    (SELECT model_id, (prediction_time AT TIME ZONE 'UTC')::date AS day FROM inference_label
     WHERE is_current AND prediction_time IS NOT NULL ORDER BY model_id, prediction_time LIMIT 1)
    UNION ALL
    SELECT following.model_id, following.day FROM labelled, LATERAL (
        SELECT model_id, (prediction_time AT TIME ZONE 'UTC')::date AS day FROM inference_label AS later
        WHERE is_current AND prediction_time IS NOT NULL AND (later.model_id, later.prediction_time)
            >= (labelled.model_id, (labelled.day + 1)::timestamp AT TIME ZONE 'UTC')
        ORDER BY model_id, prediction_time LIMIT 1) AS following
)
SELECT model_id, day, NOT is_there FROM (
    SELECT model_id, day,
        EXISTS (SELECT FROM inference_packedday AS packed WHERE packed.model_id = labelled.model_id
            AND packed.day = labelled.day AND role <> 'shadow' AND week < %s) AS is_due,
        EXISTS (SELECT FROM inference_packedday AS packed
            WHERE packed.model_id = labelled.model_id AND packed.day = labelled.day)
        OR EXISTS (SELECT FROM inference_predictionchunk AS fresh WHERE NOT is_packed
            AND fresh.model_id = labelled.model_id AND fresh.day = labelled.day) AS is_there
    FROM labelled
) AS found WHERE is_due OR NOT is_there
"""


# All revisions of a label are folded together, so that a newer one never lies in its chunk before an older one.
_IS_SENT = """NOT EXISTS (SELECT FROM inference_unsentlabel AS unsent
    WHERE unsent.model_id = label.model_id AND unsent.given_id = label.given_id)"""


def _chunks_of(labelled: LabelledDay, week: date) -> list[int]:
    """List the chunks of a day's answers without narrow rows that have a label in their time to be folded."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM inference_predictionchunk AS chunk "
            "WHERE is_packed AND damage = '' AND model_id = %s AND day = %s AND role <> 'shadow' AND week < %s "
            "AND EXISTS (SELECT FROM inference_label AS label WHERE label.model_id = chunk.model_id AND is_current "
            f'AND prediction_time BETWEEN chunk.start AND chunk."end" AND {_IS_SENT}) ORDER BY id',
            [labelled.model_id, labelled.day, week],
        )
        return [pk for (pk,) in cursor.fetchall()]


@transaction.atomic
def _fold(labelled: LabelledDay, pk: int) -> int:
    label_log.lock(labelled.model_id, exclusive=True)
    chunks = PredictionChunk.objects.filter(is_packed=True, day=labelled.day, pk=pk)
    chunk = chunks.select_for_update().first()
    if chunk is None:
        return 0  # its retention ended meanwhile
    try:
        found, held = list(_labels_of(chunk)), FoldedLabels.read(chunk.labels)
    except ChunkDamaged as error:
        mark_damaged(describe_damaged(chunks, {pk: error.reason}))
        return 0  # its labels stay in rows of their own
    if found:
        stored = held.add([label for _, label in found])
        chunks.update(labels=sealer()(stored.write()))
        _delete(chunk.model_id, found)
    return len(found)


def _labels_of(chunk: PredictionChunk) -> Iterator[tuple[str, FoldedLabel]]:
    """Yield the labels of a chunk's rows that no sink has yet to send, each with the id it was sent under."""
    rows = ids_of(chunk.payload)
    ids, times = rows.column("id").to_pylist(), rows.column("time").to_pylist()
    places = dict(zip(ids, range(len(ids)), strict=True))
    clients = rows.column("client_id").drop_null().to_pylist()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {PREDICTION}, given_id, prediction_time, revision, is_current, value, labelled_at, "
            "received_at, source FROM inference_label AS label "
            "WHERE model_id = %s AND given_id = ANY(%s::text[]) "
            f"AND prediction_time BETWEEN %s AND %s AND {_IS_SENT}",
            [chunk.model_id, text_array({*ids, *clients}), chunk.start, chunk.end],
        )
        for id_, given_id, time, *values in cursor.fetchall():
            place = places.get(id_)
            if place is not None and times[place] == time:  # the id may have been used again since
                yield given_id, FoldedLabel(place, None if given_id == id_ else given_id, *values)


def _delete(model_id: int, found: Sequence[tuple[str, FoldedLabel]]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM inference_label AS label "
            "USING unnest(%s::text[], %s::bigint[]) AS folded (given_id, revision) "
            "WHERE label.model_id = %s AND label.given_id = folded.given_id AND label.revision = folded.revision",
            [
                text_array(given_id for given_id, _ in found),
                integer_array(label.revision for _, label in found),
                model_id,
            ],
        )


@transaction.atomic
def _delete_labels(labelled: LabelledDay) -> int:
    """Delete the labels of a day that is not kept any more, unless predictions of it came meanwhile."""
    label_log.lock(labelled.model_id, exclusive=True)
    if PredictionChunk.objects.filter(model_id=labelled.model_id, day=labelled.day).exists():
        return 0
    start = start_of_day(labelled.day)
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH ids AS (SELECT given_id FROM inference_label WHERE model_id = %s AND is_current "
            "AND prediction_time >= %s AND prediction_time < %s) "
            "DELETE FROM inference_label AS label USING ids "
            "WHERE label.model_id = %s AND label.given_id = ids.given_id",
            [labelled.model_id, start, start + timedelta(days=1), labelled.model_id],
        )
        return int(cursor.rowcount)
