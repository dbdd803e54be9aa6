"""Replaces the keys of an installation by successors, while it runs and without a loss.

Each rotation writes the new key first, beside those of before, which still open and verify; then it seals anew what
was sealed, some rows at a time; at last it deletes keys that nothing needs any more. Killed anywhere, every key that is
needed is still there, and the rotation is run again: it goes on with the key that the one before it has added. The row
in the audit trail comes before the end, so that no rotation lacks one; one that is killed between the two has two.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db import models, transaction
from django.db.models import Q

from driftline.base.accounts.services import record_audit
from driftline.base.feature import features
from driftline.base.keys.edge_keys import store_successions
from driftline.base.keys.key_files import (
    begin_rotation,
    drop_old_keys,
    end_rotation,
    only_rotation,
    read_keys,
)
from driftline.base.keys.sealed_field import sealed_columns
from driftline.base.keys.secret_keys import follow_secret_keys
from driftline.base.keys.secrets_at_rest import SecretUnreadable, is_sealed, reseal
from inference.prediction_log.encryption.key_rotation import KeyRotation, rotate_log_key
from inference.registry.models import Version
from inference.registry.plan.publishing import publish
from inference.runtime.remote.credentials import KEY_FILE, CredentialUnreadable, open_headers, seal_headers

ROTATED = "key.rotate"
"""The act in the audit trail."""
BATCH_ROWS = 50
"""So many rows are locked at a time."""


@dataclass(frozen=True)
class Resealing:
    """What a rotation did: secrets sealed anew, those that no key opens, and old keys deleted."""

    resealed: int
    unreadable: int
    dropped: int = 0


# -- the secret key ----------------------------------------------------------------------------------------------------
def rotate_secret_key(home: Path, *, actor: str) -> Resealing:
    """Make a new secret key for the home and seal every secret under it; the previous key still opens and verifies.

    Where DRIFTLINE_SECRET_KEY is set, that is the new key, and nothing but the sealing is done. The key before the
    one of before is deleted, unless something could not be opened.
    """
    with only_rotation(home):
        path = settings.SECRET_KEY_FILE
        if path is not None:
            begin_rotation(path)
            follow_secret_keys()
        done = _reseal_everything()
        dropped = drop_old_keys(path) if path is not None and not done.unreadable else 0
        follow_secret_keys()
        recorded = _recorded("secret_key", Resealing(done.resealed, done.unreadable, dropped), actor)
        if path is not None:
            end_rotation(path)
        return recorded


def count_secrets() -> int:
    """Count the rows that hold something sealed under the secret key."""
    return (
        sum(_with_secrets(model, fields).count() for model, fields in sealed_columns().items())
        + Authenticator.objects.count()
    )


def _reseal_everything() -> Resealing:
    parts = [
        _reseal_rows(_with_secrets(model, fields), fields, reseal)
        for model, fields in sealed_columns().items()
    ]
    parts.append(_reseal_rows(Authenticator.objects.all(), ("data",), _reseal_data))
    return Resealing(sum(one.resealed for one in parts), sum(one.unreadable for one in parts))


def _with_secrets(model: type[models.Model], fields: Sequence[str]) -> models.QuerySet[Any]:
    """Return the rows of which some of these columns is not empty."""
    some = reduce(or_, (Q(**{f"{field}__isnull": False}) & ~Q(**{field: b""}) for field in fields))
    return model._base_manager.filter(some)


def _reseal_rows(
    rows: models.QuerySet[Any], fields: Sequence[str], seal_anew: Callable[[Any], Any]
) -> Resealing:
    """Seal these columns anew, some rows in a transaction; a value that no key opens stays as it is."""
    resealed = unreadable = last = 0
    while True:
        with transaction.atomic():
            batch = list(rows.filter(pk__gt=last).order_by("pk").select_for_update(of=("self",))[:BATCH_ROWS])
            for row in batch:
                for field in fields:
                    stored = getattr(row, field)
                    if not stored:
                        continue
                    try:
                        changed = seal_anew(stored if isinstance(stored, dict) else bytes(stored))
                    except (SecretUnreadable, CredentialUnreadable):
                        unreadable += 1
                        continue
                    resealed += 1
                    setattr(row, field, changed)
                type(row)._base_manager.filter(pk=row.pk).update(
                    **{name: getattr(row, name) for name in fields}
                )
        if not batch:
            return Resealing(resealed, unreadable)
        last = batch[-1].pk


def _reseal_data(value: Any) -> Any:
    """Seal anew what is sealed in a second factor's data, and leave all else."""
    if isinstance(value, dict):
        return {name: _reseal_data(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_reseal_data(one) for one in value]
    return reseal(value.encode()).decode() if isinstance(value, str) and is_sealed(value) else value


# -- the other keys ----------------------------------------------------------------------------------------------------
def rotate_endpoint_key(home: Path, *, actor: str) -> Resealing:
    """Make a new key of the home for credentials of models' servers, seal them under it, and publish the plan.

    Serving hosts get the keys with the plan.
    """
    path = home / KEY_FILE
    with only_rotation(home):
        begin_rotation(path)
        key = read_keys(path)[0]

        def seal_anew(stored: bytes) -> bytes:
            return seal_headers(open_headers(stored.decode(), home), key).encode()

        done = _reseal_rows(Version.objects.exclude(credential=b""), ("credential",), seal_anew)
        publish()
        dropped = 0 if done.unreadable else drop_old_keys(path)
        recorded = _recorded("endpoint_key", Resealing(done.resealed, done.unreadable, dropped), actor)
        end_rotation(path)
        return recorded


@dataclass(frozen=True)
class EdgeRotation:
    """What a rotation of the edge key did: old keys deleted, and devices that still trust another than the newest."""

    dropped: int
    devices_behind: int


def devices_behind() -> int:
    """Return how many devices trust an earlier edge key than the newest."""
    return sum(feature.behind_edge_key() for feature in features())


def rotate_edge_key(home: Path, *, actor: str) -> EdgeRotation:
    """Make a new key of the home for manifests and plans, which the one before names to devices and serving hosts.

    That one still signs for agents and hosts that follow no succession. The key before it is deleted, once what it
    signed of its successor is stored.
    """
    path = settings.EDGE_KEY_FILE
    with only_rotation(home):
        begin_rotation(path)
        store_successions()
        dropped = drop_old_keys(path)
        recorded = _recorded("edge_key", EdgeRotation(dropped, devices_behind()), actor)
        end_rotation(path)
        return recorded


def rotate_master_key(home: Path, *, actor: str) -> KeyRotation:
    """Make a new master key of the home of the encrypted log."""
    return _recorded("log_key", rotate_log_key(home), actor)


def _recorded[Done: (Resealing, EdgeRotation, KeyRotation)](name: str, done: Done, actor: str) -> Done:
    record_audit(project=None, actor=actor, action=ROTATED, subject=name, after=asdict(done))
    return done
