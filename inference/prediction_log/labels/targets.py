"""Finds the predictions that labels belong to: by prediction id, else by a client id that exactly one of them holds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple

from django.db import connection

from inference.prediction_log.storage.array_literals import text_array
from inference.prediction_log.storage.packed_search import (
    PackedRow,
    are_in_place,
    find_packed,
    is_packed_before,
)
from inference.prediction_log.storage.partitions import oldest_week
from inference.registry.models import Model


class TargetRow(NamedTuple):
    """One row of a prediction: its answer, or a shadow's copy."""

    prediction_id: str
    event_time: datetime
    version_id: int
    role: str


@dataclass(frozen=True)
class LabelTarget:
    """The prediction that a label belongs to; `packed` are its answers that have no narrow row any more."""

    prediction_id: str
    event_time: datetime
    packed: tuple[PackedRow, ...] = ()


@dataclass(frozen=True)
class Found:
    """What belongs to the given ids; `rows` are those of the targets, shadows' copies among them."""

    targets: dict[str, LabelTarget]
    ambiguous: set[str]
    rows: list[TargetRow]


@dataclass(frozen=True)
class Searched:
    """The ids that were looked for in chunks, and the rows that arrived before the week `before` and have one."""

    before: date = date.min
    ids: frozenset[str] = frozenset()
    rows: list[PackedRow] = field(default_factory=list)

    def is_out_of_date(self) -> bool:
        """Return, under the lock, whether an erasure has moved or taken what was found."""
        return not are_in_place(self.rows)


def find_targets(model_id: int, ids: Sequence[str], searched: Searched) -> Found:
    """Look among narrow rows, and among the packed rows that were found before."""
    wanted = set(ids)
    rows = rows_of(model_id, ids)
    targets = {
        row.prediction_id: LabelTarget(row.prediction_id, row.event_time) for row in rows if _answers(row)
    }
    older: dict[str, list[PackedRow]] = {}
    for packed in searched.rows:
        older.setdefault(packed.row.prediction_id, []).append(packed)
    answered = {id_: kept for id_, found in older.items() if (kept := _answers_among(found))}
    targets = {id_: _target(found) for id_, found in answered.items() if id_ in wanted} | targets
    by_client: dict[str, dict[str, LabelTarget]] = {}
    rest = wanted - targets.keys()
    for client_id, id_, moment in _held_by_clients(model_id, rest):
        by_client.setdefault(client_id, {})[id_] = LabelTarget(id_, moment)
    for id_, found in answered.items():
        for client_id in {packed.row.client_id for packed in found} & rest:
            by_client.setdefault(client_id, {}).setdefault(id_, _target(found))
    joined = {client_id: next(iter(held.values())) for client_id, held in by_client.items() if len(held) == 1}
    rows += rows_of(model_id, {target.prediction_id for target in joined.values()} - wanted)
    rows += [
        TargetRow(packed.row.prediction_id, packed.row.event_time, packed.row.version_id, packed.row.role)
        for packed in searched.rows
    ]
    return Found(targets | joined, by_client.keys() - joined.keys(), rows)


def not_searched(model: Model, ids: Iterable[str], found: Found, searched: Searched) -> list[str]:
    """List the ids without a target that chunks may hold and that nobody has looked for there yet."""
    week = oldest_week()
    known = searched.ids if searched.before == week else frozenset()
    missing = [
        id_ for id_ in ids if id_ not in found.targets and id_ not in found.ambiguous and id_ not in known
    ]
    return missing if missing and is_packed_before(model, week) else []


def search(model: Model, ids: Sequence[str]) -> Searched:
    """Look for ids in the chunks; never under a lock, because it may take a second."""
    before = oldest_week()
    return Searched(before, frozenset(ids), find_packed(model, ids, before))


def _answers(row: TargetRow) -> bool:
    return row.role != "shadow"


def _answers_among(found: Sequence[PackedRow]) -> tuple[PackedRow, ...]:
    return tuple(packed for packed in found if packed.row.role != "shadow")


def _target(found: tuple[PackedRow, ...]) -> LabelTarget:
    return LabelTarget(found[-1].row.prediction_id, found[-1].row.event_time, found)


def rows_of(model_id: int, ids: Iterable[str]) -> list[TargetRow]:
    """Read the narrow rows of predictions, of answers and copies."""
    wanted = list(ids)
    if not wanted:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT prediction_id, event_time, version_id, role FROM inference_predictionrow "
            "WHERE model_id = %s AND prediction_id = ANY(%s::text[])",
            [model_id, text_array(wanted)],
        )
        return [TargetRow(*found) for found in cursor.fetchall()]


def _held_by_clients(model_id: int, ids: Iterable[str]) -> list[tuple[str, str, datetime]]:
    """Return up to two predictions that hold each client id: real clients send the same one again and again."""
    wanted = sorted(ids)
    if not wanted:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT client_id, held.prediction_id, held.event_time FROM unnest(%s::text[]) AS given (id), LATERAL ("
            "SELECT client_id, prediction_id, event_time FROM inference_predictionrow "
            "WHERE model_id = %s AND client_id = id AND client_id <> '' AND role <> 'shadow' LIMIT 2) AS held",
            [text_array(wanted), model_id],
        )
        return cursor.fetchall()
