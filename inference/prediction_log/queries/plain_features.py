"""Which features the log has as numbers or texts, of versions that declare none."""

from collections.abc import Collection
from datetime import date
from itertools import chain

from inference.prediction_log.models import PackedDay, PredictionChunk
from inference.prediction_log.queries.frames import ChunkRows, frame_from
from inference.prediction_log.queries.selectors import read_parts

_DAYS = 2  # the newest ones: the last may have just begun
_MIN_ROWS = 1_000  # a feature may be missing in most of them, and each request be a chunk of its own
_MIN_CHUNKS = 3
_MAX_CHUNKS = 100
_ATTEMPTS = 3  # as chunks are packed meanwhile, under other keys


def find_plain_features(version_id: int, names: Collection[str]) -> set[str]:
    """Return those of these features that the newest rows of a version have as numbers or texts."""
    rows = _newest_rows(version_id)
    if not rows:
        return set()
    features = frame_from(rows, {}).features
    return {
        name
        for name in names
        if any(value is not None and value == value for value in features.get(name, ()))
    }


def _newest_rows(version_id: int) -> list[ChunkRows]:
    """Read the newest chunks of a version that have enough rows together; none where it has none."""
    parts: list[ChunkRows] = []
    for _ in range(_ATTEMPTS):
        days, keys = _newest_chunks(version_id)
        if not keys:
            return []
        parts, damaged = read_parts(
            PredictionChunk.objects.filter(version=version_id, day__in=days, pk__in=keys)
        )
        if len(parts) + len(damaged) == len(keys):
            break
    return parts


def _newest_chunks(version_id: int) -> tuple[list[date], list[int]]:
    """Return the keys of these chunks, and their days, by which the database finds them: it stores chunks by day."""
    fresh = PredictionChunk.objects.filter(version=version_id, is_packed=False)
    packed = PackedDay.objects.filter(version=version_id)
    found = (
        rows.order_by("-day").values_list("day", flat=True).distinct()[:_DAYS] for rows in (fresh, packed)
    )
    days = sorted(set(chain.from_iterable(found)), reverse=True)[:_DAYS]
    chunks = PredictionChunk.objects.filter(version=version_id, day__in=days).order_by("-day", "-pk")
    newest, seen = list[int](), 0
    for pk, rows in chunks.values_list("pk", "rows")[:_MAX_CHUNKS]:
        newest.append(pk)
        seen += rows
        if seen >= _MIN_ROWS and len(newest) >= _MIN_CHUNKS:
            break
    return days, newest
