"""Reads rows of the newest objects for a person; nothing is noted of them."""

import time
from itertools import islice

from inference.connectors.failure import ConnectorFailed
from inference.connectors.objects.store import ObjectInfo, ObjectMissing, ObjectRefused, ObjectStore
from inference.prediction_log.sources.objects.adapter import open_store
from inference.prediction_log.sources.objects.rows import BrokenObject, OutOfTime, read_rows
from inference.prediction_log.sources.objects.settings import ObjectsSettings
from inference.prediction_log.sources.reading.messages import BROKEN_OBJECT, Fault, StreamMessage

MAX_OBJECT_BYTES = 32 << 20
MAX_OBJECTS = 10
MAX_PAGES = 20


def sample_objects(
    settings: ObjectsSettings, secret: str, *, messages: int, seconds: float
) -> list[StreamMessage]:
    """Read the first rows of the newest object among the first 20,000, within about so many seconds.

    Where it has too few, as one that is broken, those before it are read too. Raises ConnectorFailed.
    """
    deadline = time.monotonic() + seconds
    store = open_store(settings, secret, deadline=deadline)
    found: list[StreamMessage] = []
    try:
        for info in _newest(store, settings, deadline):
            found += _first_rows(store, info, settings, messages - len(found), deadline)
            if len(found) >= messages or time.monotonic() >= deadline:
                break
    except ConnectorFailed:
        if not found:
            raise
    finally:
        store.close()
    return found


def _newest(store: ObjectStore, settings: ObjectsSettings, deadline: float) -> list[ObjectInfo]:
    """Return the newest objects that are small enough, the last one first."""
    found: list[ObjectInfo] = []
    is_too_large = False
    for page in islice(store.pages(), MAX_PAGES):
        matching = [one for one in page if settings.format_of(one.path)]
        small = [one for one in matching if one.size <= MAX_OBJECT_BYTES]
        is_too_large = is_too_large or len(small) < len(matching)
        found = sorted(found + small, key=lambda one: one.modified_us)[-MAX_OBJECTS:]
        if time.monotonic() >= deadline:
            break
    if not found and is_too_large:
        raise ConnectorFailed(f"No object has at most {MAX_OBJECT_BYTES >> 20} MiB, so none can be shown.")
    return found[::-1]


def _first_rows(
    store: ObjectStore, info: ObjectInfo, settings: ObjectsSettings, messages: int, deadline: float
) -> list[StreamMessage]:
    transfer = store.fetch(info)
    try:
        while not transfer.step():
            if time.monotonic() >= deadline:
                raise ConnectorFailed("The store did not answer in time.")
        found: list[StreamMessage] = []
        try:
            rows = read_rows(transfer.file, info.path, settings, start=0, deadline=deadline)
            for row in islice(rows, messages):
                found.append(
                    StreamMessage(
                        partition=info.path,
                        offset=len(found),
                        value=row.value,
                        time_us=info.modified_us,
                        has_text_cells=row.has_text_cells,
                        fault=row.fault,
                    )
                )
        except OutOfTime as error:
            if not found:
                raise ConnectorFailed(f"No row of {info.path} could be read in time.") from error
        except BrokenObject as error:
            fault = Fault(BROKEN_OBJECT, f"{str(error).rstrip('.')}.")
            found.append(
                StreamMessage(partition=info.path, offset=len(found), value=info.path.encode(), fault=fault)
            )
        return found
    except (ObjectMissing, ObjectRefused) as error:
        raise ConnectorFailed(f"{info.path} cannot be read: {error}.") from error
    finally:
        transfer.close()
