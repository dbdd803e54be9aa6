"""How a host comes in and goes out."""

import re
from datetime import datetime

from django.conf import settings
from django.db import IntegrityError, transaction

from driftline.base.accounts.models import digest_of
from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem, invalid
from inference.hosts.models import ServingHost
from inference.hosts.tokens import new_token
from inference.serving.status.status import retire_host

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,59}")


def add_host(*, name: str, actor: str) -> tuple[ServingHost, str]:
    """Make a host and return it with its token, which is shown once and never stored.

    Raises Problem 422, or 409 for a name that is taken; the name of a host that was revoked is free again.
    """
    if not _NAME.fullmatch(name):
        detail = (
            "A host is named by up to 60 lower-case letters, digits, dots and hyphens, such as serving-2."
        )
        raise invalid("/name", detail)
    token = new_token()
    try:
        with transaction.atomic():
            ServingHost.objects.exclude(revoked_at=None).filter(name=name).delete()
            host = ServingHost.objects.create(
                name=name, token_digest=digest_of(token.text), token_key=token.key_text
            )
            record_audit(project=None, actor=actor, action="serving_host.add", subject=name)
    except IntegrityError as error:
        detail = f"There is a serving host {name} already; revoke it first, or choose another name."
        raise Problem(409, "serving_host_exists", detail) from error
    return host, token.text


def revoke_host(*, host: ServingHost, actor: str, now: datetime) -> None:
    """End a host's token: it gets no plan any more, and serves on with the last one until somebody stops it."""
    with transaction.atomic():
        host.revoked_at = now
        host.save(update_fields=["revoked_at"])
        record_audit(project=None, actor=actor, action="serving_host.revoke", subject=host.name)
    retire_host(settings.HOME, host.name)
