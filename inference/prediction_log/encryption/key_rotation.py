"""Adds a new master key to a home and wraps the log's keys anew under it; no chunk is touched.

What serving processes wrapped lies on the disk for hours at most and is left as it is: the master key of before stays
in the file until the next rotation, and longer where something still names it. Killed anywhere, the file holds every
key that is needed, and the rotation can be run again.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path

from django.db import transaction

from driftline.base.keys.key_files import only_rotation, write_keys
from inference.prediction_log.encryption.sealed_chunks import make_key
from inference.prediction_log.models import LogKey
from inference.prediction_log.spool.sealing import (
    KEY_FILE,
    KeyMissing,
    MasterKey,
    master_keys,
    unwrap_key,
    wrap_key,
    wrapped_by,
    wrapped_job_keys,
    wrapped_segment_keys,
)

_ALWAYS_KEPT = (
    2  # a process may have read the file just before, and wrap under the key that was the newest then
)


@dataclass(frozen=True)
class KeyRotation:
    """What a rotation did: keys wrapped anew, keys that no master key opens, and master keys deleted and kept."""

    wrapped: int
    lost: int
    released: int
    kept: int


def rotate_log_key(home: Path) -> KeyRotation:
    """Put a new master key first, wrap every key of the log under it, and delete master keys that nothing names."""
    with only_rotation(home):
        _write(home, [MasterKey.of(secrets.token_urlsafe(64)), *master_keys(home)])
        wrapped, lost = _wrap_anew(home)
        masters = master_keys(home)
        needed = _names_in_use(home)
        kept = masters[:_ALWAYS_KEPT] + [one for one in masters[_ALWAYS_KEPT:] if one.name in needed]
        _write(home, kept)
    return KeyRotation(wrapped, lost, len(masters) - len(kept), len(kept))


def _write(home: Path, masters: list[MasterKey]) -> None:
    """Replace the file in one step, on the disk before anything is wrapped under a new key."""
    write_keys(home / KEY_FILE, [master.text for master in masters])


@transaction.atomic
def _wrap_anew(home: Path) -> tuple[int, int]:
    """Wrap the keys anew; what is written from now on is sealed under another key, which the old master never saw."""
    wrapped = lost = 0
    for key in LogKey.objects.select_for_update().order_by("created_at"):
        try:
            key.wrapped = wrap_key(home, unwrap_key(home, bytes(key.wrapped)))
        except KeyMissing:
            lost += 1
            continue
        key.save(update_fields=["wrapped"])
        wrapped += 1
    if wrapped:
        make_key()
    return wrapped, lost


def _names_in_use(home: Path) -> set[bytes]:
    stored = [bytes(wrapped) for wrapped in LogKey.objects.values_list("wrapped", flat=True)]
    return {
        wrapped_by(wrapped) for wrapped in [*stored, *wrapped_segment_keys(home), *wrapped_job_keys(home)]
    }
