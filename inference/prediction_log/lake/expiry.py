"""Makes retention wait: where a project has a lake, the rows of a day leave the log once they are in it."""

from collections.abc import Collection, Sequence
from datetime import date, timedelta

from django.db.models import Q
from django.db.models.functions import Now

from driftline.common.periods import start_of_day
from inference.prediction_log.lake.days import note_changed_days
from inference.prediction_log.lake.models import Lake, LakeFile
from inference.prediction_log.models import LabelChange, PackedDay, PredictionChunk
from inference.registry.models import Model


def leave_unwritten(
    day: date, stored: Sequence[PackedDay], expired: Sequence[PackedDay]
) -> tuple[PackedDay, ...]:
    """Return what may go of a day: of a model with a lake all of its rows together, once they are in it."""
    with_lake = _with_lake({packed.model_id for packed in expired})
    if not with_lake:
        return tuple(expired)
    parts = {packed.pk for packed in expired}
    partly = {packed.model_id for packed in stored if packed.pk not in parts}
    ready = {model_id for model_id in with_lake - partly if _is_written(model_id, day)}
    return tuple(packed for packed in expired if packed.model_id not in with_lake or packed.model_id in ready)


def close_expired(day: date, models: Collection[int]) -> bool:
    """Close the files of models, in the transaction that deletes the day; False where one has to be written first."""
    with_lake = _with_lake(models)
    files = LakeFile.objects.filter(model__in=with_lake, day=day, is_open=True)
    list(files.select_for_update().order_by("pk"))
    if not all(_is_written(model_id, day) for model_id in with_lake):
        return False
    files.update(is_open=False)
    return True


def _with_lake(models: Collection[int]) -> set[int]:
    """Return those of these models that have a lake."""
    found = Model.objects.filter(pk__in=models, project__in=Lake.objects.values("project"))
    return set(found.values_list("pk", flat=True))


def _is_written(model_id: int, day: date) -> bool:
    """Return whether the lake has all rows and labels of a day; what is not summarised or packed yet is to come."""
    start = start_of_day(day)
    of_day = {"prediction_time__gte": start, "prediction_time__lt": start + timedelta(days=1)}
    if LabelChange.objects.filter(model=model_id, **of_day).exists():
        return False
    coming = PredictionChunk.objects.filter(Q(is_summarised=False, damage="") | Q(is_packed=False))
    if coming.filter(model=model_id, day=day).exists():
        return False
    files = LakeFile.objects.filter(model=model_id, day=day, is_open=True, state=LakeFile.State.DONE)
    return files.filter(Q(lease_until=None) | Q(lease_until__lt=Now())).exists()


def write_soon(day: date, models: Collection[int]) -> None:
    """Have the files of a day written at once, in the caller's transaction: retention waits for them."""
    files = LakeFile.objects.filter(model__in=models, day=day, is_open=True)
    known = set(files.values_list("model", flat=True))
    for model in Model.objects.filter(pk__in=set(models) - known):  # no row of it could be summarised
        note_changed_days(model, [day], settled_after=timedelta())
    files.filter(state=LakeFile.State.WAITING, due_at__gt=Now()).update(due_at=Now())
