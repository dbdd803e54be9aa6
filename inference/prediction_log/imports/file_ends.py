"""Until when windows count as ended: a file that was imported to its end brings no more of the day that it ends in."""

from collections.abc import Mapping
from datetime import datetime

from driftline.base.periods import end_of, floor
from inference.prediction_log.imports.models import Import
from inference.prediction_log.queries.event_clock import event_now, event_nows
from inference.prediction_log.queries.selectors import newest_arrival
from inference.registry.models import Model


def ended_until(*, model: Model, now: datetime) -> datetime:
    """Return until when the windows of a model that have rows count as ended.

    That is the event clock, or the end of the newest day with rows where these came with a file, all of which is
    imported: nobody waits for the rest of a day that a file does not hold. How long nothing has arrived is not counted
    by it: a file that ends at noon is no silence in the afternoon.
    """
    clock = event_now(model=model, now=now)
    newest, arrived = newest_arrival(model)
    if newest is None:
        return clock
    day_end = end_of(floor(newest, "day"), "day")
    files = Import.objects.filter(model=model, kind=Import.Kind.PREDICTIONS)
    if not clock < day_end <= now or files.filter(state__in=Import.UNFINISHED).exists():
        return clock
    brought = files.filter(state=Import.State.DONE, created_at__lte=arrived, finished_at__gte=arrived)
    return day_end if brought.exists() else clock


def have_ended[Key](windows: Mapping[Key, tuple[int, datetime]], *, now: datetime) -> set[Key]:
    """Return which windows, by model id and end, have ended; only models behind their window are asked twice."""
    models = Model.objects.filter(pk__in={model_id for model_id, _ in windows.values()})
    clocks = event_nows(models=models, now=now)
    behind = {model_id for model_id, end in windows.values() if end > clocks[model_id]}
    clocks |= {model.pk: ended_until(model=model, now=now) for model in models.filter(pk__in=behind)}
    return {key for key, (model_id, end) in windows.items() if end <= clocks[model_id]}
