"""Reads a source of objects as the loop does, until nothing is left; nobody waits."""

from driftline.base.clock import now
from inference.prediction_log.models import PredictionRow
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.objects.adapter import ObjectsAdapter
from inference.prediction_log.sources.reading.adapters import open_adapter
from inference.prediction_log.sources.reading.messages import StreamMessage
from inference.prediction_log.sources.reading.positions import note_ends
from inference.prediction_log.sources.reading.storing import store_batch
from inference.prediction_log.sources.selectors import statuses_of

MAX_POLLS = 60


def open_objects(source: Source) -> ObjectsAdapter:
    """Open a source with a consumer that never waits."""
    adapter = open_adapter(Source.objects.select_related("model").get(pk=source.pk))
    assert isinstance(adapter, ObjectsAdapter)
    adapter._wait = lambda _: None
    return adapter


def read_all(source: Source) -> list[StreamMessage]:
    """Read and store all that there is; returns the messages."""
    with open_objects(source) as adapter:
        return read_by(adapter, source)


def read_by(adapter: ObjectsAdapter, source: Source) -> list[StreamMessage]:
    found: list[StreamMessage] = []
    for _ in range(MAX_POLLS):
        batch = adapter.poll(0)
        found += batch
        if batch:
            store_batch(source, batch, now=now())
        elif adapter.ends() and lag(source) == 0:
            break
    note_ends(source.pk, adapter.ends())
    return found


def lag(source: Source) -> int | None:
    return statuses_of([source])[source.pk].lag_objects


def ids() -> list[str]:
    return sorted(PredictionRow.objects.values_list("prediction_id", flat=True))


def csv_of(*rows: str) -> bytes:
    """A file of predictions with these ids."""
    return b"id,prediction,income\n" + b"".join(b"%s,1,41.5\n" % row.encode() for row in rows)
