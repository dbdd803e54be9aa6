"""Thumbnails of a few predictions, for who shows these beside each other."""

from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
from django.db.models import Q

from driftline.base.periods import day_of
from inference.prediction_log.encryption.sealed_chunks import ChunkDamaged
from inference.prediction_log.models import ANSWERING_ROLES, PredictionChunk
from inference.prediction_log.rows.columns import THUMBNAIL
from inference.prediction_log.storage.chunk_rows import read_rows
from inference.registry.models import Model
from inference.registry.selectors import shows_image


def thumbnails_of(*, model: Model, times: Mapping[str, datetime]) -> dict[str, str]:
    """Read the PNGs, as base64, of predictions by their ids, of which `times` are the event times.

    Those that the model's privacy does not show now are left out, and one chunk is read at a time.
    """
    images = [one.pk for one in model.versions.filter(signature__has_key="image") if shows_image(model, one)]
    if not images or not times:
        return {}
    holding = Q()
    for time in times.values():
        holding |= Q(day=day_of(time), start__lte=time, end__gte=time)
    chunks = PredictionChunk.objects.filter(
        holding, model=model, version_id__in=images, role__in=ANSWERING_ROLES
    )
    ids = pa.array(list(times), pa.string())
    found: dict[str, str] = {}
    for payload in chunks.values_list("payload", flat=True).iterator(chunk_size=1):
        found |= _thumbnails_in(payload, ids)
    return found


def _thumbnails_in(payload: bytes | memoryview, ids: pa.Array) -> dict[str, str]:
    try:
        rows = read_rows(payload, ("id", THUMBNAIL))
    except ChunkDamaged:  # a look at the prediction itself says so
        return {}
    if THUMBNAIL not in rows.schema.names:
        return {}
    chosen = rows.filter(pc.is_in(rows.column("id"), value_set=ids))
    contents = zip(*(chosen.column(name).to_pylist() for name in ("id", THUMBNAIL)), strict=True)
    return {row: b64encode(content).decode() for row, content in contents if content is not None}
