"""What agents send: how their device does, and the rows that it predicted."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from operator import attrgetter

import numpy as np
from django.db.models import F
from django.db.models.functions import Greatest

from driftline.base.errors import invalid
from driftline.base.periods import start_of_day
from inference.edge.models import Device
from inference.edge.releases import judge_group, record_outcome
from inference.prediction_log.ingest.parsing import parse_predictions
from inference.prediction_log.ingest.store import log_predictions, refuse_while_behind
from inference.prediction_log.items import BatchResult, ItemFault, ItemResult
from inference.prediction_log.rows.sent_columns import PredictionBatch
from inference.prediction_log.storage.packed_search import find_packed
from inference.prediction_log.storage.partitions import oldest_week
from inference.registry.models import Model, Version

TAG = "device"
GROUP_TAG = "device_group"
CLOCK_MARGIN = timedelta(days=1)
_SEQUENCE = re.compile(r"[1-9]\d{0,17}")


def note_seen(device: Device, *, now: datetime) -> None:
    """Note that a device was heard of, and go on with the release where that waits for silent ones."""
    Device.objects.filter(pk=device.pk).update(last_seen_at=now)
    judge_group(device.group, now=now)


def record_status(
    *,
    device: Device,
    release: int | None,
    version: str,
    failure: str,
    runs_on: str,
    skew_ms: int | None,
    unsent_rows: int,
    dropped_rows: int,
    key_failure: str = "",
    now: datetime,
) -> None:
    """Store what an agent says of itself; `failure` says why it does not answer with `release`.

    `key_failure` says why it can be assigned nothing.
    """
    Device.objects.filter(pk=device.pk).update(
        last_seen_at=now,
        version=version,
        failure=failure or key_failure,
        runs_on=runs_on,
        skew_ms=skew_ms,
        unsent_rows=unsent_rows,
        dropped_rows=dropped_rows,
    )
    if release is not None:
        record_outcome(device=device, release_id=release, failure=failure, now=now)


def store_rows(*, device: Device, body: bytes, now: datetime) -> BatchResult:
    """Log what a device predicted; each prediction is called `<device>-<sequence>` and counts once.

    A row of a version that the model does not have is rejected by itself. Raises Problem 422 for another device's row.
    """
    model = device.group.model
    refuse_while_behind(model)
    batch = parse_predictions(body, lines=False, task=model.task, now=now)
    sequences = _check_rows(device, batch)
    if not sequences:
        return log_predictions(model=model, batch=batch, now=now)
    known = _perhaps_old(device, batch, sequences)
    # before the rows are stored, so that no number is used twice
    highest = Greatest(F("next_sequence"), max(sequences) + 1)
    Device.objects.filter(pk=device.pk).update(next_sequence=highest, last_seen_at=now)
    batch, repeated = _without_old_rows(model, _without_unknown_versions(model, batch), known)
    result = log_predictions(model=model, batch=batch, now=now)
    return BatchResult.of(sorted([*result.results, *repeated], key=attrgetter("index")))


def _perhaps_old(device: Device, batch: PredictionBatch, sequences: Sequence[int]) -> list[str]:
    """Return the ids of rows that may have come in a week of which the log keeps no ids any more.

    No row comes before it was predicted, but for what the device's clock is wrong by.
    """
    end_us = (start_of_day(oldest_week()).timestamp() + CLOCK_MARGIN.total_seconds()) * 1e6
    columns = batch.columns
    return [
        id_
        for id_, time_us, one in zip(columns.ids, columns.times_us, sequences, strict=True)
        if one < device.next_sequence and time_us < end_us
    ]


def _without_old_rows(
    model: Model, batch: PredictionBatch, ids: Sequence[str]
) -> tuple[PredictionBatch, list[ItemResult]]:
    """Part those rows from a batch that came so long ago that the log does not refuse their ids by itself any more.

    A device that never heard that they arrived may send them again after months without a network.
    """
    old = {packed.row.prediction_id for packed in find_packed(model, ids, oldest_week())} if ids else set()
    columns = batch.columns
    is_old = np.isin(columns.ids.astype(str), list(old)) if old else np.zeros(len(columns), bool)
    repeated = [
        ItemResult(int(place), id_, "duplicate")
        for place, id_ in zip(columns.places[is_old], columns.ids[is_old], strict=True)
    ]
    return (replace(batch, columns=columns.take(~is_old)) if repeated else batch), repeated


def _check_rows(device: Device, batch: PredictionBatch) -> list[int]:
    """Return the sequences of rows that are the device's own."""
    columns = batch.columns
    sequences = []
    wanted = {TAG: device.name, GROUP_TAG: device.group.name}
    for place, (id_, tags) in enumerate(zip(columns.ids, columns.tags, strict=True)):
        owner, _, sequence = id_.rpartition("-")
        if owner != device.name or not _SEQUENCE.fullmatch(sequence):
            at = f"/predictions/{columns.places[place]}/id"
            raise invalid(
                at, f"The id is {id_[:80]!r}; a prediction of this device is called {device.name}-<sequence>."
            )
        if tags is None or {**tags, **wanted} != tags:
            at = f"/predictions/{columns.places[place]}/tags"
            raise invalid(
                at, f"The tags of this device are {TAG}={device.name} and {GROUP_TAG}={device.group.name}."
            )
        sequences.append(int(sequence))
    return sequences


def _without_unknown_versions(model: Model, batch: PredictionBatch) -> PredictionBatch:
    """Make faults of rows of versions that devices cannot have run, such as one that was deleted since."""
    columns = batch.columns
    names = set(columns.versions)
    known = Version.objects.filter(model=model, version__in=names).exclude(sha256="")
    unknown = names - set(known.values_list("version", flat=True))
    if not unknown:
        return batch
    is_unknown = np.array([name in unknown for name in columns.versions], bool)
    refused = columns.take(is_unknown)
    faults = {
        int(place): _unknown_version(model, int(place), id_, name)
        for place, id_, name in zip(refused.places, refused.ids, refused.versions, strict=True)
    }
    return replace(batch, columns=columns.take(~is_unknown), faults={**batch.faults, **faults})


def _unknown_version(model: Model, place: int, id_: str, version: str) -> ItemFault:
    detail = f"{model.name} has no version {version} that devices could run."
    return ItemFault(id_, "version_not_found", detail, f"/predictions/{place}/version")
