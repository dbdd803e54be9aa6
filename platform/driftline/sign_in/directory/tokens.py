"""Tokens of providers, each for one provider and for SCIM alone: no other door of Driftline takes them."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest

from driftline.base.accounts.access.allowed_networks import AllowedNetworks, check_networks
from driftline.base.accounts.access.http_auth import bearer_of
from driftline.base.accounts.audit.sign_ins import directory_token_refused
from driftline.base.accounts.models import DirectoryToken, digest_of
from driftline.base.accounts.services import (
    OVERLAP_HOURS,
    check_overlap,
    new_token_text,
    record_audit,
    replace_secret,
)
from driftline.base.errors import Problem
from driftline.base.http.client_address import address_of
from driftline.sign_in.directory.refusals import DirectoryRefusal
from driftline.sign_in.single_sign_on.configuration import ProviderSettings

_USE_NOTED_EVERY = timedelta(minutes=1)
_REMEDY = "the operator sets its allowed addresses in the admin, or by `manage.py scim_token allow`"


def create_directory_token(
    *, provider_id: str, actor: str, allowed_networks: Iterable[str] = ()
) -> tuple[DirectoryToken, str]:
    """Make a token of a provider, and return it with its text, which is shown once.

    It may be used from `allowed_networks` alone, in CIDR notation; from anywhere without any. Raises Problem 404 for a
    provider that is not in the operator's file, 422 for what is no network.
    """
    if settings.SIGN_IN.provider(provider_id) is None:
        known = ", ".join(one.id for one in settings.SIGN_IN.providers) or "none"
        raise Problem(
            404,
            "provider_unknown",
            f"DRIFTLINE_SIGN_IN_FILE has no provider {provider_id!r}; it has: {known}.",
        )
    text, networks = new_token_text(), check_networks(allowed_networks)
    with transaction.atomic():
        token = DirectoryToken.objects.create(
            provider=provider_id, prefix=text[:11], digest=digest_of(text), allowed_networks=networks
        )
        allowed = {"allowed_networks": networks} if networks else {}
        _record(token, actor, "create", after={"provider": provider_id, **allowed})
    return token, text


def allow_directory_token(*, prefix: str, networks: Iterable[str], actor: str) -> DirectoryToken:
    """Set the networks from which alone a token may be used, in CIDR notation; without any it is from anywhere.

    Raises Problem 404 where no valid token begins so, 422 for what is no network.
    """
    chosen = check_networks(networks)
    with transaction.atomic():
        token = _lock(prefix)
        before, token.allowed_networks = token.allowed_networks, chosen
        if chosen != before:
            token.save(update_fields=["allowed_networks"])
            _record(token, actor, "allow", before=before, after=chosen)
    return token


def rotate_directory_token(
    *, prefix: str, actor: str, now: datetime, overlap_hours: int = OVERLAP_HOURS
) -> tuple[DirectoryToken, str]:
    """Make a new secret for a token and return both; the one before ends after the overlap, by itself.

    Of two secrets that a token has, the older one ends at once. Raises Problem 404 where no valid token begins so, 422
    for a wrong overlap.
    """
    check_overlap(overlap_hours)
    with transaction.atomic():
        token = _lock(prefix)
        until = now + timedelta(hours=overlap_hours) if overlap_hours else None
        text = replace_secret(token, before=token.digest, until=until)
        ends = until.isoformat() if until else None
        _record(token, actor, "rotate", after={"previous_valid_until": ends})
    return token, text


def revoke_directory_token(*, prefix: str, actor: str, now: datetime) -> DirectoryToken:
    """Make a token invalid at once; raises Problem 404 where no valid one begins so."""
    with transaction.atomic():
        token = _lock(prefix)
        token.revoked_at = now
        token.save(update_fields=["revoked_at"])
        _record(token, actor, "revoke")
    return token


def _lock(prefix: str) -> DirectoryToken:
    """Lock the valid token that begins so."""
    tokens = DirectoryToken.objects.select_for_update().filter(revoked_at=None)
    token = tokens.filter(prefix=prefix[:11]).first()
    if token is None:
        raise Problem(404, "token_unknown", f"No valid token begins with {prefix[:11]!r}.")
    return token


def _record(token: DirectoryToken, actor: str, act: str, before: Any = None, after: Any = None) -> None:
    record_audit(
        project=None,
        actor=actor,
        action=f"scim_token.{act}",
        subject=token.prefix,
        before=before,
        after=after,
    )


def provider_of(request: HttpRequest, *, now: datetime) -> ProviderSettings:
    """Return the provider that calls; raises `DirectoryRefusal` 401, or 403 from where the token may not be used."""
    tokens = DirectoryToken.objects.with_digest(digest_of(bearer_of(request)), now=now)
    token = tokens.filter(revoked_at=None).first()
    provider = settings.SIGN_IN.provider(token.provider) if token else None
    if token is None or provider is None:
        raise DirectoryRefusal(
            401, "Send a token of `manage.py scim_token create` as 'Authorization: Bearer dl_...'."
        )
    allowed = AllowedNetworks.of(token.prefix, token.allowed_networks, remedy=_REMEDY)
    if allowed is not None and (reason := allowed.refuse(address_of(request))) is not None:
        directory_token_refused(token, code="address_not_allowed")
        raise DirectoryRefusal(403, reason)
    stale = Q(last_used_at=None) | Q(last_used_at__lt=now - _USE_NOTED_EVERY)
    DirectoryToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)
    return provider
