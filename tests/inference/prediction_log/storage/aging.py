"""Days of the log that grow old and are packed."""

from datetime import UTC, datetime, timedelta

from driftline.base.work.work_rows import touch
from inference.prediction_log.models import PredictionChunk, TouchedPeriod
from inference.prediction_log.storage.compaction import find_unpacked, pack_next
from inference.registry.models import Model
from tests.worlds.approvals import DAY


def grow_old() -> None:
    """Let what is fresh have been stored two hours before."""
    past = datetime.now(UTC) - timedelta(hours=2)
    PredictionChunk.objects.filter(is_packed=False).update(created_at=past, end_stored_at=past)


def touch_day(model: Model) -> None:
    """Have every hour of the day summarised and measured anew."""
    version = model.versions.get()
    hours = [DAY + timedelta(hours=hour) for hour in range(24)]
    touch(
        TouchedPeriod,
        [(model.pk, version.pk, "champion", hour) for hour in hours],
        fields=("model_id", "version_id", "role", "hour"),
    )


def pack_all() -> None:
    find_unpacked()
    while pack_next():
        pass
