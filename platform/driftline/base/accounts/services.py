"""Writes of accounts: tokens, projects, and the audit trail."""

import secrets
import zlib
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Q

from driftline.base.accounts.access.allowed_networks import check_networks
from driftline.base.accounts.access.rights import insufficient_scope
from driftline.base.accounts.access.scopes import Role, Scope
from driftline.base.accounts.audit.chain import redact, seal_soon
from driftline.base.accounts.audit.origin import current_origin
from driftline.base.accounts.models import (
    ApiToken,
    AuditEntry,
    Membership,
    Project,
    RotatedToken,
    User,
    digest_of,
)
from driftline.base.accounts.signals import isolation_changed, tokens_changed
from driftline.base.errors import Problem, invalid

MAX_PER_SECOND = 1_000_000_000
MAX_NAME_CHARACTERS = 200
"""Of an actor and a subject in the trail; what is longer is cut."""
OVERLAP_HOURS = 24
"""How long the secret of before stays valid after a rotation, unless somebody chooses otherwise."""
MAX_OVERLAP_HOURS = 720


def record_audit(
    *, project: Project | None, actor: str, action: str, subject: str, before: Any = None, after: Any = None
) -> AuditEntry:
    """Add one row to the audit trail, in the caller's transaction, with where the act comes from."""
    origin = current_origin()
    entry = AuditEntry.objects.create(
        project=project,
        project_slug=project.slug if project else "",
        actor=actor[:MAX_NAME_CHARACTERS],
        action=action,
        subject=subject[:MAX_NAME_CHARACTERS],
        before=before,
        after=after,
        address=origin.address,
        token_id=origin.token_id,
        token_name=origin.token_name,
        correlation=origin.correlation,
    )
    seal_soon()
    return entry


def redact_audit(*, project: Project | None, actor: str, fields: Mapping[int, Collection[str]]) -> AuditEntry:
    """Blank fields of audit entries, by their primary keys, for an erasure; the trail tells of it."""
    return redact(fields, record=partial(record_audit, project=project, actor=actor))


def create_project(
    *, slug: str, name: str, owner: User, actor: str = "", quotas: Mapping[str, int] | None = None
) -> Project:
    """Create a project with these quotas and make `owner` its first admin, who is the actor unless another is named."""
    quotas = quotas or {}
    with transaction.atomic():
        project = Project.objects.create(slug=slug, name=name, **quotas)
        Membership.objects.create(project=project, user=owner, role=Role.ADMIN)
        record_audit(
            project=project,
            actor=actor or str(owner),
            action="project.create",
            subject=slug,
            after={"admin": str(owner), **quotas},
        )
    return project


def rename_person(*, user: User, name: str) -> None:
    """Change how others see a person."""
    name, before = " ".join(name.split())[:150], user.get_full_name()
    if name == before:
        return
    with transaction.atomic():
        user.first_name, user.last_name = name, ""
        user.save(update_fields=["first_name", "last_name"])
        record_audit(
            project=None,
            actor=user.email,
            action="user.rename",
            subject=user.email,
            before=before,
            after=name,
        )


def note_isolation(*, project: Project, before: str | None, actor: str) -> None:
    """Audit and publish the isolation of a project that was saved; nothing happens where it is as `before`."""
    if project.isolation == before:
        return
    with transaction.atomic():
        record_audit(
            project=project,
            actor=actor,
            action="project.isolation",
            subject=project.slug,
            before=before,
            after=project.isolation,
        )
        isolation_changed.send(sender=Project, project=project)


def create_token(
    *,
    project: Project,
    name: str,
    scopes: Iterable[str],
    actor: str,
    created_by: User | None = None,
    expires_at: datetime | None = None,
    requests_per_second: int = 0,
    rows_per_second: int = 0,
    allowed_networks: Iterable[str] = (),
    held: Collection[str] = frozenset(Scope),
) -> tuple[ApiToken, str]:
    """Create a token and return it with its text, which is shown once and never stored; a limit of 0 is none.

    It may be used from `allowed_networks` alone, in CIDR notation; from anywhere without any. `held` are the scopes of
    who makes it, which an operator has all of: raises Problem 403 for others, 422 for what is no scope.
    """
    scopes = sorted(set(scopes))
    if unknown := set(scopes).difference(Scope):
        raise invalid("/scopes", f"{min(unknown)!r} is not a scope; use some of {', '.join(Scope)}.")
    if not scopes:
        raise invalid("/scopes", f"A token needs at least one scope: some of {', '.join(Scope)}.")
    if missing := [scope for scope in Scope if scope in scopes and scope not in held]:
        raise insufficient_scope(held, {"/scopes": missing[0]}, actor=actor)
    text = new_token_text()
    with transaction.atomic():
        token = ApiToken.objects.create(
            project=project,
            name=name,
            prefix=text[:11],
            digest=digest_of(text),
            scopes=scopes,
            created_by=created_by,
            expires_at=expires_at,
            requests_per_second=_limit("requests_per_second", requests_per_second),
            rows_per_second=_limit("rows_per_second", rows_per_second),
            allowed_networks=check_networks(allowed_networks),
        )
        allowed = {"allowed_networks": token.allowed_networks} if token.allowed_networks else {}
        _record(token, actor, "create", after={"scopes": scopes, **_limits_of(token), **allowed})
        tokens_changed.send(sender=ApiToken)
    return token, text


def allow_networks(*, token: ApiToken, networks: Iterable[str], actor: str) -> None:
    """Set the networks from which alone a token may be used, in CIDR notation; without any it is from anywhere.

    Serving processes follow within a second. Raises Problem 422 for what is no network, 409 for a revoked token.
    """
    chosen = check_networks(networks)
    with transaction.atomic():
        before = _lock(token).allowed_networks
        if chosen == before:
            return
        token.allowed_networks = chosen
        token.save(update_fields=["allowed_networks"])
        _record(token, actor, "allow", before=before, after=chosen)
        tokens_changed.send(sender=ApiToken)


def rotate_token(
    *,
    token: ApiToken,
    scopes: Collection[str],
    actor: str,
    now: datetime,
    overlap_hours: int = OVERLAP_HOURS,
) -> str:
    """Make a new secret for a token and return it, which is shown once; the one before ends after the overlap.

    `scopes` are those of who does it: nobody gets a secret that may do what they may not (403). Of two secrets that a
    token has, the older one ends at once. Raises Problem 409 for a token that is revoked or has expired, 422 for a
    wrong overlap.
    """
    check_overlap(overlap_hours)
    missing = next((scope for scope in Scope if scope in token.scopes and scope not in scopes), None)
    if missing is not None:
        raise insufficient_scope(scopes, {"": missing}, actor=actor)
    with transaction.atomic():
        stored = _lock(token)
        if stored.expires_at is not None and stored.expires_at <= now:
            raise Problem(
                409,
                "token_expired",
                f"{token.prefix}… expired on {stored.expires_at:%-d %b %Y}; make a new token.",
            )
        ends = now + timedelta(hours=overlap_hours)
        text = replace_secret(
            token,
            before=stored.digest,
            until=min(ends, stored.expires_at or ends) if overlap_hours else None,
        )
        until = token.previous_until.isoformat() if token.previous_until else None
        _record(token, actor, "rotate", after={"previous_valid_until": until})
        tokens_changed.send(sender=ApiToken)
    return text


def was_rotated_by_another(token: ApiToken) -> bool:
    """Return whether anybody but a token's maker, or the token itself, has ever given it a new secret, and so knew it.

    What is done in the maker's name is refused then: somebody else may have the secret.
    """
    maker = token.created_by.email[:MAX_NAME_CHARACTERS] if token.created_by else None
    rotations = AuditEntry.objects.filter(
        project=token.project_id, action="token.rotate", subject__startswith=f"{token.prefix} "
    )
    return rotations.exclude(actor=maker, token_id=None).exclude(token_id=token.pk).exists()


def check_overlap(hours: int) -> None:
    """Raise Problem 422 for hours in which no secret of before may stay valid."""
    if not 0 <= hours <= MAX_OVERLAP_HOURS:
        raise invalid(
            "/overlap_hours",
            f"overlap_hours is {hours}; use a number from 1 to {MAX_OVERLAP_HOURS}, or 0 for no overlap.",
        )


def replace_secret(token: RotatedToken, *, before: str, until: datetime | None) -> str:
    """Make a new secret for a token, of which the row is locked, and return it.

    The secret with the digest `before` is valid until then too; None ends it at once.
    """
    text = new_token_text(token.prefix)
    token.digest, token.previous_digest, token.previous_until = (
        digest_of(text),
        before if until else "",
        until,
    )
    token.save(update_fields=["digest", "previous_digest", "previous_until"])
    return text


def _lock(token: ApiToken) -> ApiToken:
    """Lock a token's row, and return what it holds now."""
    stored = ApiToken.objects.select_for_update().get(pk=token.pk)
    if stored.revoked_at is not None:
        raise Problem(
            409, "already_revoked", f"{token.prefix}… was revoked on {stored.revoked_at:%-d %b %Y}."
        )
    return stored


def _record(token: ApiToken, actor: str, act: str, before: Any = None, after: Any = None) -> None:
    record_audit(
        project=token.project,
        actor=actor,
        action=f"token.{act}",
        subject=f"{token.prefix} {token.name}",
        before=before,
        after=after,
    )


def limit_token(*, token: ApiToken, requests_per_second: int, rows_per_second: int, actor: str) -> None:
    """Set how much a token may send a second to each serving process; they follow within a second."""
    with transaction.atomic():
        before = _limits_of(token)
        token.requests_per_second = _limit("requests_per_second", requests_per_second)
        token.rows_per_second = _limit("rows_per_second", rows_per_second)
        token.save(update_fields=["requests_per_second", "rows_per_second"])
        _record(token, actor, "limit", before=before, after=_limits_of(token))
        tokens_changed.send(sender=ApiToken)


def _limits_of(token: ApiToken) -> dict[str, int]:
    return {
        "requests_per_second": token.requests_per_second,
        "rows_per_second": token.rows_per_second,
    }


def _limit(name: str, value: int) -> int:
    if not 0 <= value <= MAX_PER_SECOND:
        raise invalid(
            f"/{name}", f"{name} is {value}; use a number from 1 to {MAX_PER_SECOND:,}, or 0 for no limit."
        )
    return value


def revoke_token(*, token: ApiToken, actor: str, now: datetime) -> None:
    """Make a token invalid at once; doing it twice changes nothing."""
    with transaction.atomic():
        if ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=now):
            _record(token, actor, "revoke")
            tokens_changed.send(sender=ApiToken)


def note_token_use(digest: str, *, at: datetime) -> None:
    """Note when the token of a secret was used, unless a later use is known."""
    tokens = ApiToken.objects.with_digest(digest, now=at)
    tokens.filter(Q(last_used_at=None) | Q(last_used_at__lt=at)).update(last_used_at=at)


def new_token_text(prefix: str = "") -> str:
    """`dl_`, 256 random bits, and a checksum by which secret scanners tell a token from noise.

    A new secret of a token begins with its prefix, which names it in the trail and in what it sent, and is random
    in the other 224 bits.
    """
    secret = (prefix.removeprefix("dl_") or secrets.token_hex(4)) + secrets.token_hex(28)
    return f"dl_{secret}{zlib.crc32(secret.encode()):08x}"
