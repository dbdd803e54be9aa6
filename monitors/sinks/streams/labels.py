"""Labels as they were sent, each revision once; of those that wait for their prediction it is not known yet."""

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter

from django.db.models import Count, Min

from driftline.base.accounts.models import Project
from inference.prediction_log.models import Label, UnsentLabel
from monitors.sinks.models import SinkStream
from monitors.sinks.streams.stream import (
    Backlog,
    SinkBatch,
    SinkMessage,
    StreamReader,
    message_of,
    nothing_to_begin,
)

MAX_LABELS = 5_000


def next_batch(stream: SinkStream) -> SinkBatch | None:
    """Return the labels that came first; one that left the log meanwhile is not sent."""
    project = stream.sink.project
    unsent = list(
        UnsentLabel.objects.filter(model__project=project).select_related("model").order_by("pk")[:MAX_LABELS]
    )
    if not unsent:
        return None
    by_model = attrgetter("model_id")
    messages = [
        message
        for _, some in groupby(sorted(unsent, key=by_model), key=by_model)
        for message in _messages(project, [*some])
    ]

    def finish() -> int:
        UnsentLabel.objects.filter(pk__in=[one.pk for one in unsent]).delete()
        return len(unsent) - len(messages)

    return SinkBatch(messages, finish)


def _messages(project: Project, unsent: list[UnsentLabel]) -> Iterator[SinkMessage]:
    model = unsent[0].model
    stored = Label.objects.filter(model=model, given_id__in={one.given_id for one in unsent})
    known = {(label.given_id, label.revision): label for label in stored}
    for one in unsent:
        label = known.get((one.given_id, one.revision))
        if label is None:
            continue
        joined = label.prediction_time is not None
        value = {
            "id": label.given_id,
            "prediction_id": (label.prediction_id or label.given_id) if joined else None,
            "value": label.value,
            "revision": label.revision,
            "labelled_at": label.labelled_at if joined else None,
            "received_at": label.received_at,
            "is_current": label.is_current,
        }
        yield message_of(project, model.name, f"{label.given_id}/{label.revision}", value)


def backlog(stream: SinkStream) -> Backlog:
    found = UnsentLabel.objects.filter(model__project=stream.sink.project)
    return Backlog(**found.aggregate(rows=Count("pk"), since=Min("created_at")))


def end(project: Project) -> None:
    """Forget what was still to be sent."""
    UnsentLabel.objects.filter(model__project=project).delete()


LABELS = StreamReader(next_batch, backlog, nothing_to_begin, end)
