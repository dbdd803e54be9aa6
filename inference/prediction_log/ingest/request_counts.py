"""How requests ended and waited, by model and hour of arrival: what processes spooled, added up exactly once."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from django.db import connection

from driftline.base.accounts.services import note_token_use
from inference.prediction_log.models import RequestCount
from inference.prediction_log.signals import requests_counted
from inference.prediction_log.spool.record import RequestCounts
from inference.prediction_log.storage.array_literals import integer_array, text_array
from inference.registry.models import Model

type _Key = tuple[int, int, str, str, str]  # model, hour, version, role, outcome
type _WaitKey = tuple[int, int, str, str]  # model, hour, version, role


def add_request_counts(records: Sequence[RequestCounts]) -> None:
    """Add up spooled counts in the caller's transaction; those of models that were deleted since are dropped."""
    sums: Counter[_Key] = Counter()
    for record in records:
        for ended in record.ended:
            key = (ended.model_id, record.hour_s, ended.version, ended.role, ended.outcome)
            sums[key] += ended.requests
    waits = _add_waits(records)
    touched = {key[:2] for key in sums} | {key[:2] for key in waits}
    models = {model_id for model_id, _ in touched}
    known = set(Model.objects.filter(pk__in=models).values_list("pk", flat=True))
    if kept := sorted((key, count) for key, count in sums.items() if key[0] in known):
        _upsert(kept)
    _upsert_waits(sorted((key, counts) for key, counts in waits.items() if key[0] in known))
    for model_id in known:
        hours = {datetime.fromtimestamp(hour, UTC) for owner, hour in touched if owner == model_id}
        requests_counted.send(sender=RequestCount, model_id=model_id, hours=sorted(hours))
    _note_token_uses(records)


def _note_token_uses(records: Sequence[RequestCounts]) -> None:
    """Note when tokens were last used; they come in order, so that two drains cannot deadlock."""
    latest: dict[str, float] = {}
    for record in records:
        for digest, at in record.token_uses.items():
            latest[digest] = max(at, latest.get(digest, at))
    for digest, at in sorted(latest.items()):
        note_token_use(digest, at=datetime.fromtimestamp(at, UTC))


def _add_waits(records: Sequence[RequestCounts]) -> dict[_WaitKey, list[int]]:
    sums: dict[_WaitKey, list[int]] = {}
    for record in records:
        for waited in record.waited:
            key = (waited.model_id, record.hour_s, waited.version, waited.role)
            known = sums.get(key) or [0] * len(waited.counts)
            sums[key] = [one + other for one, other in zip(known, waited.counts, strict=True)]
    return sums


def _upsert(rows: Sequence[tuple[_Key, int]]) -> None:
    """Add the counts; rows come in order, so that two drains cannot deadlock."""
    models, hours, versions, roles, outcomes = zip(*(key for key, _ in rows), strict=True)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO inference_requestcount AS known (model_id, hour, version, role, outcome, requests) "
            "SELECT model_id, to_timestamp(hour), version, role, outcome, requests FROM unnest("
            "%s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::bigint[]) "
            "AS given (model_id, hour, version, role, outcome, requests) "
            "ON CONFLICT (model_id, hour, version, role, outcome) "
            "DO UPDATE SET requests = known.requests + EXCLUDED.requests",
            [
                *(integer_array(numbers) for numbers in (models, hours)),
                *(text_array(texts) for texts in (versions, roles, outcomes)),
                integer_array([count for _, count in rows]),
            ],
        )


def _upsert_waits(rows: Sequence[tuple[_WaitKey, Sequence[int]]]) -> None:
    """Add the counts, limit by limit; rows come in order, so that two drains cannot deadlock."""
    with connection.cursor() as cursor:
        for key, counts in rows:
            cursor.execute(
                "INSERT INTO inference_requestwait AS known (model_id, hour, version, role, counts) "
                "VALUES (%s, to_timestamp(%s), %s, %s, %s::jsonb) "
                "ON CONFLICT (model_id, hour, version, role) DO UPDATE SET counts = ("
                "SELECT jsonb_agg(one::bigint + other::bigint ORDER BY place) "
                "FROM ROWS FROM (jsonb_array_elements_text(known.counts), jsonb_array_elements_text(EXCLUDED.counts)) "
                "WITH ORDINALITY AS pair (one, other, place))",
                [*key, json.dumps(counts)],
            )
