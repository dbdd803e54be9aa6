"""Tokens of providers, each for one provider and for SCIM alone: no other door of Driftline takes them."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest

from driftline.accounts.directory.refusals import DirectoryRefusal
from driftline.accounts.http_auth import bearer_of
from driftline.accounts.models import DirectoryToken, digest_of
from driftline.accounts.services import new_token_text, record_audit
from driftline.accounts.single_sign_on.configuration import ProviderSettings
from driftline.common.errors import Problem

_USE_NOTED_EVERY = timedelta(minutes=1)


def create_directory_token(*, provider_id: str, actor: str) -> tuple[DirectoryToken, str]:
    """Make a token of a provider, and return it with its text, which is shown once.

    Raises Problem 404 for a provider that is not in the operator's file.
    """
    if settings.SIGN_IN.provider(provider_id) is None:
        known = ", ".join(one.id for one in settings.SIGN_IN.providers) or "none"
        raise Problem(
            404,
            "provider_unknown",
            f"DRIFTLINE_SIGN_IN_FILE has no provider {provider_id!r}; it has: {known}.",
        )
    text = new_token_text()
    with transaction.atomic():
        token = DirectoryToken.objects.create(provider=provider_id, prefix=text[:11], digest=digest_of(text))
        record_audit(
            project=None, actor=actor, action="scim_token.create", subject=token.prefix,
            after={"provider": provider_id},
        )  # fmt: skip
    return token, text


def revoke_directory_token(*, prefix: str, actor: str, now: datetime) -> DirectoryToken:
    """Make a token invalid at once; raises Problem 404 where no valid one begins so."""
    with transaction.atomic():
        tokens = DirectoryToken.objects.select_for_update().filter(revoked_at=None)
        token = tokens.filter(prefix=prefix[:11]).first()
        if token is None:
            raise Problem(404, "token_unknown", f"No valid token begins with {prefix[:11]!r}.")
        token.revoked_at = now
        token.save(update_fields=["revoked_at"])
        record_audit(project=None, actor=actor, action="scim_token.revoke", subject=token.prefix)
    return token


def provider_of(request: HttpRequest, *, now: datetime) -> ProviderSettings:
    """Return the provider that calls; raises `DirectoryRefusal` 401."""
    token = DirectoryToken.objects.filter(digest=digest_of(bearer_of(request)), revoked_at=None).first()
    provider = settings.SIGN_IN.provider(token.provider) if token else None
    if token is None or provider is None:
        raise DirectoryRefusal(
            401, "Send a token of `manage.py scim_token create` as 'Authorization: Bearer dl_...'."
        )
    stale = Q(last_used_at=None) | Q(last_used_at__lt=now - _USE_NOTED_EVERY)
    DirectoryToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)
    return provider
