"""The sources that one process of `manage.py consume` reads, each in a thread, and those for which it has none."""

import threading

from driftline.base.feature import FeatureConsumer
from inference.prediction_log.sources.reading.beat import Beat
from inference.prediction_log.sources.reading.consuming import SourceConsumption
from inference.prediction_log.sources.selectors import MAX_SOURCES_READ, read_elsewhere, sources_to_read

NOT_READ = (
    f"This process reads {MAX_SOURCES_READ} sources, as many as it may. "
    "Run `manage.py consume --source` with the name of this one."
)


class _UnreadSources:
    """A row for each source that no process reads, which says why."""

    def __init__(self) -> None:
        self._beats: dict[int, Beat] = {}

    def update(self, unread: set[int]) -> None:
        """Renew the rows of these, and end those of others."""
        for source_id in set(self._beats) - unread:
            self._beats.pop(source_id).end()
        for source_id in unread - set(read_elsewhere(unread)):
            beat = self._beats.setdefault(source_id, Beat(source_id))
            if beat.is_due():
                beat.renew("waiting", NOT_READ)


def _read(source_id: int, stop: threading.Event) -> None:
    SourceConsumption(source_id, stop).run()


def consumers() -> list[FeatureConsumer]:
    """Return what reads every source that is to be read."""
    return [
        FeatureConsumer(
            lambda: sources_to_read().values_list("pk", flat=True),
            _read,
            MAX_SOURCES_READ,
            _UnreadSources().update,
        )
    ]
