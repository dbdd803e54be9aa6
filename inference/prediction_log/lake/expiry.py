"""Makes retention wait: where a project has a lake, the rows of a day leave the log once they are in it."""

from collections.abc import Collection, Set
from datetime import date, timedelta

from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from driftline.base.periods import start_of_day
from inference.prediction_log.lake.days import note_changed_days
from inference.prediction_log.lake.models import Lake, LakeFile
from inference.prediction_log.models import LabelChange, PredictionChunk
from inference.prediction_log.retention.hooks import ModelDay
from inference.registry.models import Model


def unwritten_days(days: Set[ModelDay], partly: Set[ModelDay]) -> Set[ModelDay]:
    """Return those days that have to stay: where there is a lake, all rows of a day go at once, when they are in it."""
    with_lake = _with_lake({model_id for model_id, _ in days})
    of_lakes = {(model_id, day) for model_id, day in days if model_id in with_lake}
    return of_lakes - (_written(of_lakes) - partly)


def close_expired(day: date, models: Collection[int]) -> bool:
    """Close the files of models, in the transaction that deletes the day; False where one has to be written first."""
    with_lake = _with_lake(models)
    files = LakeFile.objects.filter(model__in=with_lake, day=day, is_open=True)
    list(files.select_for_update().order_by("pk"))
    if len(_written({(model_id, day) for model_id in with_lake})) < len(with_lake):
        return False
    files.update(is_open=False)
    return True


def _with_lake(models: Collection[int]) -> set[int]:
    """Return those of these models that have a lake."""
    found = Model.objects.filter(pk__in=models, project__in=Lake.objects.values("project"))
    return set(found.values_list("pk", flat=True))


def _written(days: Set[ModelDay]) -> Set[ModelDay]:
    """Return those days of which the lake has all rows and labels; what is not summarised or packed yet is to come."""
    if not days:
        return days
    models, dates = {model_id for model_id, _ in days}, {day for _, day in days}
    times = start_of_day(min(dates)), start_of_day(max(dates)) + timedelta(days=1) - timedelta.resolution
    relabelled = LabelChange.objects.filter(model__in=models, prediction_time__range=times)
    coming = PredictionChunk.objects.filter(
        Q(is_summarised=False, damage="") | Q(is_packed=False), day__in=dates
    )
    files = LakeFile.objects.filter(model__in=models, day__in=dates, is_open=True)
    unfinished = files.exclude(state=LakeFile.State.DONE) | files.filter(lease_until__gte=Now())
    complete = files.exclude(
        Exists(relabelled.filter(model=OuterRef("model"), prediction_time__date=OuterRef("day")))
        | Exists(unfinished.filter(model=OuterRef("model"), day=OuterRef("day")))
        | Exists(coming.filter(model=OuterRef("model"), day=OuterRef("day")))
    )
    return set(complete.values_list("model", "day"))


def write_soon(day: date, models: Collection[int]) -> None:
    """Schedule the files of a day to be written at once, in the caller's transaction: retention waits for them."""
    files = LakeFile.objects.filter(model__in=models, day=day, is_open=True)
    known = set(files.values_list("model", flat=True))
    for model in Model.objects.filter(pk__in=set(models) - known):  # no row of it could be summarised
        note_changed_days(model, [day], settled_after=timedelta())
    files.filter(state=LakeFile.State.WAITING, due_at__gt=Now()).update(due_at=Now())
