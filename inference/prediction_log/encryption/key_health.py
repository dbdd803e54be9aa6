"""Reports which keys the log, the spool and the jobs need, and which of them cannot be opened."""

import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from django.db import connection

from inference.prediction_log.encryption.sealed_chunks import KEY_ID_BYTES, MAGIC
from inference.prediction_log.models import LogKey
from inference.prediction_log.spool.sealing import (
    KeyMissing,
    unwrap_key,
    wrapped_by,
    wrapped_job_keys,
    wrapped_segment_keys,
)


@dataclass(frozen=True)
class KeyHealth:
    """How much is sealed, and of it what cannot be opened.

    `lost_chunks` counts chunks by the key (in hex) that cannot be had, `missing_masters` names the master keys that
    would open those that are there.
    """

    sealed_chunks: int
    lost_chunks: dict[str, int]
    sealed_files: int
    lost_files: int
    missing_masters: list[str]

    @property
    def is_whole(self) -> bool:
        return not self.lost_chunks and not self.lost_files


def look_at_keys(home: Path) -> KeyHealth:
    """Look at every key that a chunk, a segment of the spool or a file of a job names."""
    needed = _chunks_by_key()
    masters: set[str] = set()
    opened = {key.hex for key, wrapped in _stored_keys() if _opens(home, wrapped, masters)}
    files = [*wrapped_segment_keys(home), *wrapped_job_keys(home)]
    lost_files = sum(not _opens(home, wrapped, masters) for wrapped in files)
    return KeyHealth(
        sealed_chunks=sum(needed.values()),
        lost_chunks={key: chunks for key, chunks in sorted(needed.items()) if key not in opened},
        sealed_files=len(files),
        lost_files=lost_files,
        missing_masters=sorted(masters),
    )


def _stored_keys() -> list[tuple[uuid.UUID, bytes]]:
    return [(pk, bytes(wrapped)) for pk, wrapped in LogKey.objects.values_list("pk", "wrapped")]


def _opens(home: Path, wrapped: bytes, missing: set[str]) -> bool:
    """Return whether a key opens; else its master key is added to those that are missing."""
    try:
        unwrap_key(home, wrapped)
    except KeyMissing:
        missing.add(wrapped_by(wrapped).hex())
        return False
    return True


def _chunks_by_key() -> Counter[str]:
    """Count sealed chunks by the ids of the keys that their rows and their labels need, from their first bytes."""
    counted: Counter[str] = Counter()
    with connection.cursor() as cursor:
        for field in ("payload", "labels"):
            cursor.execute(
                f"SELECT encode(substring({field} FROM %s FOR %s), 'hex'), count(*) "
                f"FROM inference_predictionchunk WHERE substring({field} FROM 1 FOR %s) = %s GROUP BY 1",
                [len(MAGIC) + 1, KEY_ID_BYTES, len(MAGIC), MAGIC],
            )
            counted.update(dict(cursor.fetchall()))
    return counted
