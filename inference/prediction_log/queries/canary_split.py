"""How the traffic is split between champion and canary: whether as many keys reach each as the weight says."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
from django.db.models import QuerySet

from inference.prediction_log.encryption.sealed_chunks import ChunkDamaged
from inference.prediction_log.models import PredictionChunk, PredictionRole
from inference.prediction_log.queries.requests import request_of
from inference.prediction_log.queries.selectors import days_stored_since
from inference.prediction_log.storage.chunk_rows import read_rows
from inference.registry.models import Deployment
from inference.registry.schemas import CanaryOut, SplitOut

MISMATCH_P_VALUE = 0.001
MAX_ROWS = 200_000  # the newest of both sides: enough to see a split that is off by a percent


@dataclass(frozen=True)
class Split:
    """How many keys each side answered, and whether that fits the weight.

    `p_value` is that of the exact binomial test, two-sided; None where nobody was answered. Keys are counted
    and not rows: the rows of one caller all go one way, so they are no independent draws. A request without a key is a
    key of its own, however many rows it has.
    """

    champion: int
    canary: int
    p_value: float | None

    @property
    def is_mismatch(self) -> bool:
        return self.p_value is not None and self.p_value < MISMATCH_P_VALUE


def compare_split(champion: int, canary: int, weight: float) -> Split:
    """Test whether the counts fit the weight (sample-ratio mismatch; Fabijan et al., KDD 2019).

    The test is exact because a new canary of a small weight has very few keys, where chi-square sees mismatches
    that are none.
    """
    total = champion + canary
    if not total:
        return Split(0, 0, None)
    from scipy.stats import binomtest  # as long to load as all else that a process needs

    return Split(champion, canary, float(binomtest(canary, total, weight).pvalue))


SETTLING = timedelta(seconds=5)
"""After a weight was set: serving processes take up a plan within a second."""


def split_of(
    deployment: Deployment, *, settling: timedelta = timedelta(), max_rows: int = MAX_ROWS
) -> Split | None:
    """Count the keys that each side has answered since the canary's weight was set; None without a canary.

    With `settling` the first requests do not count, which processes that had not heard of the weight may have answered.
    The newest `max_rows` rows count, of both sides those of one period.

    Requests that name the champion's version are the champion's whatever their key, and the log does not tell them
    from the others: where many callers name it, the champion counts more keys than the weight leaves it.
    """
    if deployment.canary is None or deployment.canary_weight is None or deployment.canary_since is None:
        return None
    since = deployment.canary_since + settling
    keys: dict[str, set[str]] = {PredictionRole.CHAMPION: set(), PredictionRole.CANARY: set()}
    for role, row_keys in _answered(deployment, since, max_rows):
        keys[role].update(row_keys)
    return compare_split(
        len(keys[PredictionRole.CHAMPION]), len(keys[PredictionRole.CANARY]), deployment.canary_weight
    )


def describe_split(deployment: Deployment, split: Split | None) -> CanaryOut | None:
    """Describe the canary of a deployment and its `split_of`; None without one."""
    if deployment.canary is None or deployment.canary_weight is None or deployment.canary_since is None:
        return None
    if split is None:
        return None
    return CanaryOut(
        version=deployment.canary.version,
        weight=deployment.canary_weight,
        key=deployment.canary_key,
        since=deployment.canary_since,
        split=SplitOut(
            champion=split.champion,
            canary=split.canary,
            p_value=split.p_value,
            mismatch=split.is_mismatch,
        ),
    )


def _answered(deployment: Deployment, since: datetime, max_rows: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the keys of the newest rows, a chunk at a time: of both sides all that came from one moment on.

    Each side is packed into large chunks at its own times, so that the newest chunks of both cover different periods.
    """
    chunks = PredictionChunk.objects.filter(
        model=deployment.model,
        version__in=[deployment.champion_id, deployment.canary_id],
        role__in=[PredictionRole.CHAMPION, PredictionRole.CANARY],
        day__in=days_stored_since(deployment.model, since),
        created_at__gte=since,
    )
    start = _newest_start(chunks, max_rows)
    if start is not None:
        chunks, since = chunks.filter(created_at__gt=start), max(since, start)
    read = _key_reader(deployment.canary_key)
    for role, payload in chunks.values_list("role", "payload").iterator(chunk_size=50):
        try:
            table = read_rows(payload)
        except ChunkDamaged:
            continue
        rows = zip(
            read(table), *(table[name].to_pylist() for name in ("id", "latency_us", "received")), strict=True
        )
        yield (
            role,
            [
                key or request_of(row_id, latency_us)
                for key, row_id, latency_us, received in rows
                if received >= since
            ],
        )


def _newest_start(chunks: QuerySet[PredictionChunk], max_rows: int) -> datetime | None:
    """Return the moment since which the newest `max_rows` rows came, in whole chunks; None where all are fewer.

    The rows of a chunk came before its last one was stored: what came later lies in the chunks that were stored later.
    """
    rows, newer = 0, None
    stored = chunks.order_by("-created_at").values_list("created_at", "rows")
    for created_at, count in stored.iterator(chunk_size=500):
        if rows >= max_rows and created_at != newer:
            return created_at
        rows, newer = rows + count, created_at
    return None


def _key_reader(key: str) -> Callable[[pa.RecordBatch], list[str | None]]:
    if not key.startswith("tag:"):
        return lambda table: table[key].to_pylist()
    name = key.removeprefix("tag:")
    return lambda table: [json.loads(tags).get(name) if tags else None for tags in table["tags"].to_pylist()]
