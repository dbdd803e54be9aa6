"""Which features the log has as numbers or texts, of versions that declare none."""

from collections.abc import Collection

from inference.prediction_log.models import PackedDay, PredictionChunk
from inference.prediction_log.queries.selectors import frame_from, read_parts

_CHUNKS = 3  # the newest of its newest day: one alone may lack a feature that is often missing


def find_plain_features(version_id: int, names: Collection[str]) -> set[str]:
    """Return those of these features that the newest rows of a version have as numbers or texts."""
    fresh = PredictionChunk.objects.filter(version=version_id, is_packed=False)
    days = [
        rows.order_by("-day").values_list("day", flat=True).first()
        for rows in (fresh, PackedDay.objects.filter(version=version_id))
    ]
    newest = max((day for day in days if day is not None), default=None)
    if newest is None:
        return set()
    chunks = PredictionChunk.objects.filter(version=version_id, day=newest).order_by("-pk")[:_CHUNKS]
    parts, _ = read_parts(chunks)
    features = frame_from(parts, {}).features
    return {
        name
        for name in names
        if any(value is not None and value == value for value in features.get(name, ()))
    }
