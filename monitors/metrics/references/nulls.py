"""What the statistics of a column do when nothing drifts: drawn once for each size of window, then read.

A draw takes tens of milliseconds, and a day passes a dozen sizes while it grows. So what one process has drawn is kept
in the database for every other one, and what a process has used lately in its memory.
"""

import hashlib
import zlib
from collections.abc import Collection, Mapping
from datetime import timedelta
from threading import Lock
from typing import NamedTuple

import numpy as np
from django.db import transaction

from driftline.base.clock import now
from driftline.base.work.advisory_locks import AdvisoryLock, try_lock
from monitors.metrics.references.loaded import LoadedReference
from monitors.metrics.store.models import NullDraws
from monitors.stats.drift.distances import KERNELS
from monitors.stats.drift.stored_nulls import decode_null, encode_null
from monitors.stats.drift.thresholds import NullDistributions, resample_null

KEPT_IN_MEMORY = 2_048  # of 56 kB, of all references together
REPLACED_AFTER = timedelta(days=1)  # a reference that is made of the log changes with its windows

# Raise it where how a statistic is computed or drawn changes: what was stored before is drawn anew.
_DRAWN_AS = "4"

_OF_WHOLE = 40  # characters of a digest that tell the reference; the others tell its part

type Size = tuple[str, int]
"""A column and the rows of a window."""


class _Kind(NamedTuple):
    """What windows of so many days are compared with."""

    reference_id: int
    digest: str
    days: int


_memory: dict[tuple[_Kind, Size], NullDistributions] = {}
_memory_lock = Lock()


def nulls_of(reference: LoadedReference, sizes: Collection[Size], days: int) -> dict[Size, NullDistributions]:
    """Return what each statistic does at these sizes when nothing drifts; the same in every process.

    `days` is how many a window has.
    """
    kind = _Kind(reference.id, _digest_of(reference) + _digest_of_part(reference), days)
    known = {size: null for size in sizes if (null := _memory.get((kind, size)))}
    lacking = set(sizes) - known.keys()
    if not lacking:
        return known
    stored = _read(kind, lacking)
    drawn = {size: _draw(reference, size, days) for size in sorted(lacking - stored.keys())}
    if drawn:
        _keep(kind, drawn)
    found = {size: decode_null(payload) for size, payload in (stored | drawn).items()}
    _remember(kind, found)
    return known | found


def _digest_of(reference: LoadedReference) -> str:
    """Return what the draws depend on: the whole reference, and the statistics that there are."""
    drawn = " ".join([_DRAWN_AS, *KERNELS])
    return hashlib.sha256(reference.digest + drawn.encode()).hexdigest()[:_OF_WHOLE]


def _digest_of_part(reference: LoadedReference) -> str:
    return hashlib.sha256(reference.part.encode()).hexdigest()[_OF_WHOLE:]


def _read(kind: _Kind, sizes: Collection[Size]) -> dict[Size, bytes]:
    columns, rows = zip(*sizes, strict=True)
    found = NullDraws.objects.filter(**kind._asdict(), size__in=set(rows), column__in=set(columns))
    return {
        (column, size): bytes(payload)
        for column, size, payload in found.values_list("column", "size", "payload")
        if (column, size) in sizes
    }


def _draw(reference: LoadedReference, size: Size, days: int) -> bytes:
    column, rows = size
    null = resample_null(
        reference.columns[column],
        rows,
        rng=np.random.default_rng([reference.seed, rows, zlib.crc32(column.encode())]),
        days=reference.days[column],
        length=days,
    )
    return encode_null(null)


@transaction.atomic
def _keep(kind: _Kind, drawn: Mapping[Size, bytes]) -> None:
    """Store draws, unless another process is about to: nobody waits here, so that no two wait for each other."""
    if not try_lock(AdvisoryLock.NULL_DRAWS, kind.reference_id):
        return
    of_reference = NullDraws.objects.filter(reference_id=kind.reference_id)
    replaced = of_reference.exclude(digest__startswith=kind.digest[:_OF_WHOLE])
    replaced.filter(made_at__lt=now() - REPLACED_AFTER).delete()
    rows = [
        NullDraws(**kind._asdict(), column=column, size=size, payload=payload)
        for (column, size), payload in drawn.items()
    ]
    NullDraws.objects.bulk_create(rows, ignore_conflicts=True)


def _remember(kind: _Kind, nulls: Mapping[Size, NullDistributions]) -> None:
    with _memory_lock:
        _memory.update({(kind, size): null for size, null in nulls.items()})
        while len(_memory) > KEPT_IN_MEMORY:
            del _memory[next(iter(_memory))]
