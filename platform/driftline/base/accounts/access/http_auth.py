"""Who calls the API: a bearer token with its scopes, or a person's session for reading."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q
from django.dispatch import receiver
from django.http import HttpRequest
from ninja.security import HttpBearer

from driftline.base.accounts.access.allowed_networks import AllowedNetworks
from driftline.base.accounts.access.mfa import lacks_mfa
from driftline.base.accounts.access.project_prefix import slug_in_path
from driftline.base.accounts.access.rights import check_rights, insufficient_scope
from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.audit.origin import note_token
from driftline.base.accounts.audit.sign_ins import token_refused
from driftline.base.accounts.models import ApiToken, Project, User, digest_of
from driftline.base.accounts.projects import refuse_archived
from driftline.base.accounts.services import MAX_NAME_CHARACTERS
from driftline.base.accounts.signals import tokens_changed
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.http.client_address import address_of
from driftline.base.http.identity import note_identity
from driftline.base.http.rate_budget import TokenBudget, budget_of
from driftline.base.ttl_cache import TtlCache

log = logging.getLogger(__name__)

SESSION_PROJECT = "project"  # key of the session: id of the project whose pages a person looks at
_SAFE_METHODS = ("GET", "HEAD")
_TOKEN_PARAMETERS = {"token", "access_token", "api_key", "apikey", "key", "authorization"}
_USE_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Caller:
    """On whose behalf a request acts: one project, and what it may do there."""

    project: Project
    actor: str  # how audit rows name it
    source: str  # prefix of the token; empty for a person
    scopes: frozenset[str]
    user: User | None = None
    token: tuple[int, str] | None = None  # its id and name; None for a person
    budget: TokenBudget | None = None  # where the token has limits
    allowed: AllowedNetworks | None = None  # where the token may not be used from anywhere

    def take_request(self) -> None:
        """Raise Problem 429 where the token has sent as much as it may."""
        if self.budget is not None and (wait := math.ceil(self.budget.take_request())) > 0:
            detail = f"{self.budget.sentence}; go on in {wait:,} s."
            raise Problem(429, "rate_limited", detail, retry_after=wait)

    def charge_rows(self, rows: int) -> None:
        """Count rows that the token has logged."""
        if self.budget is not None:
            self.budget.charge_rows(rows)

    def require(self, scope: Scope) -> None:
        """Refuse what the caller's scopes do not allow."""
        if scope not in self.scopes:
            raise insufficient_scope(self.scopes, {"": scope}, actor=self.actor)

    def check_rights(self, changed: Mapping[str, str]) -> None:
        """Refuse a change of things that need other scopes; see `driftline.base.accounts.access.scopes`."""
        check_rights(self.scopes, changed, actor=self.actor)


_holders: TtlCache[str, tuple[Caller, ApiToken, datetime | None]] = TtlCache()
"""Callers and their tokens by the digests of secrets, with when these end."""


class Scoped(HttpBearer):
    """Admits a request when its token has `scope`; reading is also open to the members of a project.

    An archived project is only read, but for what may be done `while_archived`.
    """

    def __init__(self, scope: Scope, *, while_archived: bool = False) -> None:
        super().__init__()
        self.scope, self._while_archived = scope, while_archived

    def __call__(self, request: HttpRequest) -> Caller:
        caller = identify(request, now=now())
        note_identity(request, caller.actor, is_reader=True)
        caller.require(self.scope)
        is_change = self.scope != Scope.READ and request.method not in _SAFE_METHODS
        if is_change and not self._while_archived:
            refuse_archived(caller.project)
        caller.take_request()
        return caller

    def authenticate(self, request: HttpRequest, token: str) -> Caller:
        return _holder(request, token, now=now())


def caller_of(request: HttpRequest) -> Caller:
    """Return the caller that `Scoped` let in."""
    caller = request.auth  # type: ignore[attr-defined]
    assert isinstance(caller, Caller)
    return caller


def identify(request: HttpRequest, *, now: datetime) -> Caller:
    """Find out who calls; raises Problem 401, or 400 for a token in the URL."""
    refuse_token_in_url(request)
    if request.headers.get("Authorization"):
        return _holder(request, bearer_of(request), now=now)
    if request.method in _SAFE_METHODS and request.user.is_authenticated:
        return _member(request.user, request)
    raise _unknown()


def refuse_token_in_url(request: HttpRequest) -> None:
    """Refuse a token where logs and proxies would keep it."""
    for name, values in request.GET.lists():
        if name.lower() in _TOKEN_PARAMETERS or any(value.startswith("dl_") for value in values):
            log.warning("token in a URL", extra={"path": request.path[:200]})
            raise Problem(
                400,
                "token_in_url",
                "Send the token as 'Authorization: Bearer dl_...', and replace it: URLs are logged.",
            )


def bearer_of(request: HttpRequest) -> str:
    """Return the bearer token of a request; empty without one."""
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


def _holder(request: HttpRequest, text: str, *, now: datetime) -> Caller:
    digest = digest_of(text)
    caller, token, ends_at = _holders.get(digest, lambda: _find_holder(digest, now))
    if ends_at is not None and ends_at <= now:
        raise _unknown()
    note_token(token_id=token.pk, name=token.name)
    if caller.allowed is not None:
        _refuse_elsewhere(caller.allowed, token, request)
    _note_use(token, now)
    return caller


def _find_holder(digest: str, now: datetime) -> tuple[Caller, ApiToken, datetime | None]:
    token = ApiToken.objects.usable().with_digest(digest, now=now).select_related("project").first()
    if token is None:
        raise _unknown()
    caller = Caller(
        token.project,
        f"token {token.prefix}…",
        token.prefix,
        frozenset(token.scopes),
        token=(token.pk, token.name),
        budget=budget_of(token.digest, token.requests_per_second, token.rows_per_second),
        allowed=AllowedNetworks.of(token.prefix, token.allowed_networks),
    )
    return caller, token, token.expires_at if digest == token.digest else token.previous_until


def _refuse_elsewhere(allowed: AllowedNetworks, token: ApiToken, request: HttpRequest) -> None:
    if (reason := allowed.refuse(address_of(request))) is not None:
        token_refused(token, code="address_not_allowed")
        raise Problem(403, "address_not_allowed", reason)


@receiver(tokens_changed)
def _forget_holders(**_: object) -> None:
    """Refuse a revoked token at once here; other processes do within a second, as serving processes do."""
    _holders.forget()
    transaction.on_commit(_holders.forget)  # what another thread found until then is out of date


def _note_use(token: ApiToken, now: datetime) -> None:
    """Note the use at most once a minute, so that busy tokens do not write on every request."""
    before = now - _USE_NOTED_EVERY
    if token.last_used_at is None or token.last_used_at < before:
        token.last_used_at = now  # of this object, which is asked again for a second
        stale = Q(last_used_at=None) | Q(last_used_at__lt=before)
        ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)


def _member(user: User, request: HttpRequest) -> Caller:
    """Allow a person to read the project that they name, else the one whose pages they look at, else their first."""
    if lacks_mfa(user):
        raise Problem(
            403, "mfa_required", "Your role needs two-factor authentication; set it up on the pages first."
        )
    projects = Project.objects.filter(members=user).order_by(F("archived_at").asc(nulls_first=True), "pk")
    slug = slug_in_path(request) or request.headers.get("Driftline-Project", "")
    chosen = request.session.get(SESSION_PROJECT)
    project = (projects.filter(slug=slug) if slug else projects.filter(pk=chosen or 0)).first()
    if project is None and not slug:
        project = projects.first()
    if project is None:
        raise Problem(403, "no_project", f"{user.email} is in no such project; ask one of its admins.")
    return Caller(project, user.email[:MAX_NAME_CHARACTERS], "", frozenset({Scope.READ}), user)


def _unknown() -> Problem:
    return invalid_token(
        "Send a valid token as 'Authorization: Bearer dl_...'; an admin makes them on the tokens page."
    )


def invalid_token(detail: str) -> Problem:
    """Return the Problem (401) for a token that lets nobody in; `detail` says which one would."""
    challenge = 'Bearer realm="driftline", error="invalid_token"'
    return Problem(401, "invalid_token", detail, headers={"WWW-Authenticate": challenge})
