"""Predictions whose label changed since the summaries counted it: noted by whoever writes labels, taken by whoever
summarises.

What a summary counts of a prediction is its label as it holds now or, where one is noted here, the label that held
before: so a row may be summarised at any time, and the change is made once.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.db import connection
from django.db.models import Min

from driftline.common.periods import floor, following
from inference.prediction_log.array_literals import integer_array, text_array
from inference.prediction_log.label_reads import Holding
from inference.prediction_log.models import RelabelledPrediction
from inference.registry.models import Model

MAX_TAKEN = 5_000  # whoever corrects one of them meanwhile waits
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Counted(NamedTuple):
    """The label that summaries count of a prediction: None where they count none."""

    value: str | None
    known_us: int

    @classmethod
    def read(cls, value: str, known_us: int) -> "Counted":
        """Read what is noted, where no time means no label."""
        return cls(value if known_us else None, known_us)


class Relabelled(NamedTuple):
    """A prediction whose label changed, and what summaries count of it."""

    prediction_id: str
    time_us: int
    counted: Counted


def note_relabelled(model_id: int, before: Mapping[tuple[str, datetime], Holding | Counted | None]) -> None:
    """Note that the labels of these predictions change, with what held `before`, in the transaction that does so.

    What is noted already stays. Whoever takes it meanwhile is waited for: it has not seen this change.
    """
    rows = [
        (id_, _us(time), *((held.value, held.known_us) if held and held.value is not None else ("", 0)))
        for (id_, time), held in sorted(before.items(), key=lambda one: (one[0][1], one[0][0]))
    ]
    if not rows:
        return
    ids, times, values, known = zip(*rows, strict=True)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO inference_relabelledprediction (model_id, prediction_id, prediction_time, value, known_us) "
            f"SELECT %s, id, {_SQL_MOMENT}, value, known_us "
            "FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::bigint[]) AS told (id, us, value, known_us) "
            "ON CONFLICT (model_id, prediction_time, prediction_id) "
            "DO UPDATE SET prediction_id = excluded.prediction_id",
            [model_id, text_array(ids), integer_array(times), text_array(values), integer_array(known)],
        )


_SQL_MOMENT = "'epoch'::timestamptz + us * interval '1 microsecond'"


def as_counted(
    model: Model, held: Mapping[str, Holding], start: datetime, end: datetime
) -> dict[str, Holding | Counted]:
    """Give the labels of predictions in `[start, end)` as summaries count them.

    `held` are those that hold; they were read before this is called.
    """
    noted = RelabelledPrediction.objects.filter(
        model=model, prediction_time__gte=start, prediction_time__lt=end
    )
    counted = {
        id_: Counted.read(value, known_us)
        for id_, value, known_us in noted.values_list("prediction_id", "value", "known_us")
    }
    return {**held, **counted}


def take_relabelled(model: Model) -> list[Relabelled]:
    """Take some of what is noted of the oldest day, for whoever counts these labels in this transaction.

    Only then may the labels be read: a change that is being written is left for the next time.
    """
    all_noted = RelabelledPrediction.objects.filter(model=model)
    oldest = all_noted.aggregate(time=Min("prediction_time"))["time"]
    if oldest is None:
        return []
    noted = (
        all_noted.filter(prediction_time__lt=following(floor(oldest, "day"), "day"))
        .order_by("prediction_time", "prediction_id")
        .select_for_update(skip_locked=True)[:MAX_TAKEN]
    )
    taken = list(noted)
    RelabelledPrediction.objects.filter(pk__in=[one.pk for one in taken]).delete()
    return [
        Relabelled(one.prediction_id, _us(one.prediction_time), Counted.read(one.value, one.known_us))
        for one in taken
    ]


def note_again(model_id: int, left: Iterable[Relabelled]) -> None:
    """Note what was taken and could not be counted, in the same transaction."""
    note_relabelled(model_id, {(one.prediction_id, _moment(one.time_us)): one.counted for one in left})


def _moment(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)
