"""The marker of a lake: a small file that says which lake the files beside it are of.

It is put there before the first file. Where it is missing later, the place is not the one that the files are in: the
folder is not mounted, or the bucket is a new one. Where it is another lake's, files would be written over those that
hold the only copy of a day: of a lake that was stopped, or of another server or database.
"""

import json

from django.db.models.functions import Now

from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.lake.models import Lake
from inference.prediction_log.lake.stores.store import LakeStore, settings_of

MARKER = "_driftline_lake.json"
"""Arrow and Spark pass by files that begin so."""
_MAX_BYTES = 1_000


def check_marker(store: LakeStore, lake: Lake) -> None:
    """Raise ConnectorFailed where the files of a lake are not, or another's are; marks a place that is not in use."""
    where = settings_of(lake)
    name, expected = where.name_of(MARKER), json.dumps({"lake": str(lake.token)}).encode()
    found = _read(store, name)
    if found is None and lake.marked_at is None:
        store.write(name, expected)
        found = _read(store, name)
    if found is None:
        raise ConnectorFailed(
            f"{where.location()} has no {MARKER}, so its files are elsewhere; is it mounted?"
        )
    if found != expected:
        raise ConnectorFailed(
            f"The files of another lake are in {where.location()}, as {MARKER} there says: "
            "name another prefix for this one."
        )
    if lake.marked_at is None:
        Lake.objects.filter(pk=lake.pk, settings=lake.settings).update(marked_at=Now())


def _read(store: LakeStore, name: str) -> bytes | None:
    with store.read(name) as content:
        return None if content is None else content.read(_MAX_BYTES)
