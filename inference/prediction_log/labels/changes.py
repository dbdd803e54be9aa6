"""Label changes that the summaries do not count yet: recorded by the label writers, claimed by the summariser.

The summaries count the current label of a prediction unless a change of it is recorded here: then they count the label
before the change. A row can therefore be summarised at any time, and each change is applied once.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection
from django.db.models import Min

from driftline.base.periods import day_of, floor, from_us, to_us
from inference.prediction_log.labels.selectors import Holding, current_labels
from inference.prediction_log.models import LabelChange
from inference.prediction_log.signals import days_changed
from inference.prediction_log.storage.array_literals import integer_array, text_array
from inference.registry.models import Model

CLAIMED_DAYS = 31  # at once: the changes of a day may be few
MAX_CLAIMED = 5_000  # a client that corrects one of these labels waits for the transaction


class SummarisedLabel(NamedTuple):
    """The label that the summaries count for a prediction; `value` is None where they count none."""

    value: str | None
    known_us: int


class ClaimedChange(NamedTuple):
    """A prediction with a changed label, and the label that the summaries count for it."""

    prediction_id: str
    time_us: int
    summarised: SummarisedLabel


NO_LABEL = SummarisedLabel(None, 0)


def record_label_changes(
    model_id: int, before: Mapping[tuple[str, datetime], Holding | SummarisedLabel | None]
) -> None:
    """Record that the labels of predictions (id and event time) change, with the label `before`.

    Call it in the transaction that changes the labels. A change that is recorded already keeps its label. The call
    waits for a transaction that claims the same change, because that one does not see the new label.
    """
    rows = sorted((to_us(time), id_, label or NO_LABEL) for (id_, time), label in before.items())
    if not rows:
        return
    times, ids, labels = zip(*rows, strict=True)
    values = [label.value or "" for label in labels]
    known = [0 if label.value is None else label.known_us for label in labels]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO inference_labelchange (model_id, prediction_id, prediction_time, value, known_us) "
            "SELECT %s, id, 'epoch'::timestamptz + us * interval '1 microsecond', value, known_us "
            "FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::bigint[]) AS change (id, us, value, known_us) "
            "ON CONFLICT (model_id, prediction_time, prediction_id) "
            "DO UPDATE SET prediction_id = excluded.prediction_id",
            [model_id, text_array(ids), integer_array(times), text_array(values), integer_array(known)],
        )


def summarised_labels(
    model: Model, roles: Sequence[str], start: datetime, end: datetime
) -> dict[str, Holding | SummarisedLabel]:
    """Return the labels that the summaries count for the predictions of `[start, end)`, by prediction id."""
    current = current_labels(
        model, roles, start, end
    )  # first: a change between the two reads is then recorded below
    changes = LabelChange.objects.filter(model=model, prediction_time__gte=start, prediction_time__lt=end)
    before = {
        id_: _summarised(value, known_us)
        for id_, value, known_us in changes.values_list("prediction_id", "value", "known_us")
    }
    return {**current, **before}


def claim_label_changes(model: Model) -> list[ClaimedChange]:
    """Delete some of the oldest changes and return them, for a caller that applies them in this transaction.

    Read the new labels after this call. A change that another transaction is writing stays for the next call.
    """
    changes = LabelChange.objects.filter(model=model)
    oldest = changes.aggregate(time=Min("prediction_time"))["time"]
    if oldest is None:
        return []
    claimed = list(
        changes.filter(prediction_time__lt=floor(oldest, "day") + timedelta(days=CLAIMED_DAYS))
        .order_by("prediction_time", "prediction_id")
        .select_for_update(skip_locked=True)[:MAX_CLAIMED]
    )
    LabelChange.objects.filter(pk__in=[change.pk for change in claimed]).delete()
    days = {day_of(change.prediction_time) for change in claimed}
    days_changed.send(sender=LabelChange, model=model, days=days)
    return [
        ClaimedChange(
            change.prediction_id, to_us(change.prediction_time), _summarised(change.value, change.known_us)
        )
        for change in claimed
    ]


def return_label_changes(model_id: int, changes: Iterable[ClaimedChange]) -> None:
    """Record claimed changes again that could not be applied, in the same transaction."""
    record_label_changes(
        model_id, {(change.prediction_id, from_us(change.time_us)): change.summarised for change in changes}
    )


def _summarised(value: str, known_us: int) -> SummarisedLabel:
    return SummarisedLabel(value, known_us) if known_us else NO_LABEL
