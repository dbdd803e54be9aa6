"""How requests ended, by model and hour of arrival: what processes spooled, added up exactly once."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from django.db import connection

from inference.prediction_log.array_literals import integer_array, text_array
from inference.prediction_log.models import RequestCount
from inference.prediction_log.record import RequestCounts
from inference.prediction_log.signals import requests_counted
from inference.registry.models import Model

type _Key = tuple[int, int, str, str, str]  # model, hour, version, role, outcome


def add_request_counts(records: Sequence[RequestCounts]) -> None:
    """Add up spooled counts in the caller's transaction; those of models that were deleted since are let go."""
    sums: Counter[_Key] = Counter()
    for record in records:
        for ended in record.ended:
            key = (ended.model_id, record.hour_s, ended.version, ended.role, ended.outcome)
            sums[key] += ended.requests
    known = set(Model.objects.filter(pk__in={key[0] for key in sums}).values_list("pk", flat=True))
    kept = sorted((key, count) for key, count in sums.items() if key[0] in known)
    if not kept:
        return
    _upsert(kept)
    for model_id in known:
        hours = {datetime.fromtimestamp(key[1], UTC) for key, _ in kept if key[0] == model_id}
        requests_counted.send(sender=RequestCount, model_id=model_id, hours=sorted(hours))


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
