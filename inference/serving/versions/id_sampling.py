"""Chooses a share of rows by their ids: the same rows in every process and at any time."""

import hashlib
from collections.abc import Sequence


def chosen_by_id(ids: Sequence[str], share: float) -> Sequence[int]:
    """Return the places of the rows with ids that hash below a share from 0 to 1."""
    if share >= 1:
        return range(len(ids))
    limit = share * 2**64
    return [place for place, row_id in enumerate(ids) if _hash(row_id) < limit]


def _hash(row_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(row_id.encode(), digest_size=8).digest())
