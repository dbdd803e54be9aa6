"""Which days of a model are to be written to its project's lake, and when.

A day is written an hour after it ended. What changes later is gathered: the day is written again once its labels are
ripe, and at most once a day.
"""

from collections.abc import Collection, Iterable
from datetime import date, datetime, timedelta

from django.db.models import DateTimeField, Exists, F, Max, OuterRef, Q
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce, Greatest, Now

from driftline.base.clock import now
from driftline.base.periods import start_of_day
from driftline.base.work.leased_work import LeasedQuerySet
from inference.prediction_log.lake.models import Lake, LakeFile, LakeFiles
from inference.prediction_log.models import TouchedPeriod
from inference.prediction_log.queries.selectors import days_with_rows
from inference.registry.models import Model, RowsKept

SETTLED_AFTER = timedelta(hours=1)
"""After its end most late rows of a day have come."""
REWRITTEN_AFTER = timedelta(days=1)
_DAY = timedelta(days=1)


def note_changed_days(
    model: Model, days: Iterable[date], *, settled_after: timedelta = SETTLED_AFTER
) -> None:
    """Schedule days to be written, also again, in the caller's transaction; does nothing where there is no lake."""
    changed = sorted(set(days))
    if not changed or not Lake.objects.filter(project=model.project_id).exists():
        return
    files = LakeFile.objects.filter(model=model, day__in=changed)
    last = dict(files.values_list("day").annotate(Max("number")).order_by())
    known = set(files.filter(is_open=True).values_list("day", flat=True))
    LakeFile.objects.bulk_create(
        [
            new_file(model, day, last.get(day, -1) + 1, now() + settled_after)
            for day in changed
            if day not in known
        ],
        ignore_conflicts=True,
    )
    _note_changes(files.filter(is_open=True, day__in=known), model)


def note_all_days(model: Model) -> None:
    """Schedule every day that the log holds rows of to be written, in the caller's transaction."""
    if model.rows_kept == RowsKept.NONE:
        return
    note_changed_days(model, days_with_rows(model), settled_after=timedelta())


def close_days(model_id: int, days: Collection[date]) -> None:
    """Close the files of days that lose rows otherwise than by age; those never begun are not needed."""
    files = LakeFile.objects.filter(model=model_id, day__in=days, is_open=True)
    files.filter(written_at=None, draft="").delete()
    files.update(
        is_open=False, state=LakeFile.State.DONE, attempts=0, error="", lease_until=None, lease_token=None
    )


def files_to_write() -> LeasedQuerySet[LakeFile]:
    """Select the files that a worker can write now: their lake answers, and the summaries count their rows.

    A file that holds the rest of its day too is written anew once that is in other files.
    """
    lakes = Lake.objects.filter(project=OuterRef("model__project"))
    uncounted = TouchedPeriod.objects.unfinished().filter(model=OuterRef("model"), hour__date=OuterRef("day"))
    due = LakeFile.objects.waiting().filter(due_at__lte=Now(), is_open=True)
    awaited = awaited_rests(*map(OuterRef, ("model", "day", "start_second", "end_second")))
    answers = Exists(lakes.filter(Q(retry_at=None) | Q(retry_at__lte=Now())))
    return due.filter(answers, ~Exists(uncounted), ~Exists(awaited))


def rests(
    model: Model | OuterRef, day: date | OuterRef, start_second: int | OuterRef, end_second: int | OuterRef
) -> LakeFiles:
    """Select the files that are to take over what a file from `start_second` to `end_second` holds."""
    return LakeFile.objects.filter(
        model=model, day=day, is_open=True, start_second__gt=start_second, start_second__lt=end_second
    )


def awaited_rests(
    model: Model | OuterRef, day: date | OuterRef, start_second: int | OuterRef, end_second: int | OuterRef
) -> LakeFiles:
    """Narrow those to what is not written yet: until it is, the file must keep these rows."""
    not_written = rests(model, day, start_second, end_second).filter(written_at=None)
    return not_written.exclude(state=LakeFile.State.DONE)  # without rows there is no file


def new_file(model: Model, day: date, number: int, not_before: datetime) -> LakeFile:
    """Make a file that is not stored yet, with a path that no other has, whatever models were called before."""
    folder = f"model={model.name}/date={day.isoformat()}"
    due_at = max(start_of_day(day) + _DAY + SETTLED_AFTER, not_before)
    return LakeFile(
        model=model,
        day=day,
        number=number,
        path=f"{folder}/part-{model.pk}-{number}.parquet",
        state=LakeFile.State.WAITING,
        due_at=due_at,
        touched_at=due_at,
    )


def _note_changes(files: LeasedQuerySet[LakeFile], model: Model) -> None:
    """Count a change; a worker that is writing one of the files sees that it has to be written again."""
    list(files.order_by("day", "pk").select_for_update())  # two who lock them in another order would deadlock
    changed = F("generation") + 1
    files.filter(state=LakeFile.State.WAITING).update(generation=changed)
    files.exclude(state=LakeFile.State.WAITING).update(
        generation=changed,
        state=LakeFile.State.WAITING,
        attempts=0,
        error="",
        finished_at=None,
        due_at=rewritten_at(model, Coalesce("written_at", Now())),
    )


def rewritten_at(model: Model, written_at: Combinable) -> Greatest:
    """Return when a file that was written is written again."""
    lag = timedelta(hours=model.objectives.get("label_lag_hours") or 0)
    return Greatest(written_at + REWRITTEN_AFTER, Cast("day", DateTimeField()) + _DAY + lag)
