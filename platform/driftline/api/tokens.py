"""Tokens of a project over HTTP: what they are and from where they may be used; a secret is in one answer alone."""

from typing import Annotated, Self

from django.http import HttpRequest
from msgspec import Meta
from ninja import Router
from pydantic import Field

from driftline.base.accounts import services
from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.accounts.models import ApiToken, Project
from driftline.base.clock import now
from driftline.base.errors import not_found
from driftline.base.http.bodies import Body
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.responses import Page, ResponseBody, Time, one_of

router = Router(tags=["tokens"])


class TokenOut(ResponseBody, frozen=True):
    """A token without its secret; limits of 0 are none, and without `allowed_networks` it may be used from anywhere."""

    id: int
    name: str
    prefix: str
    scopes: list[Annotated[str, one_of(Scope)]]
    created_at: Time
    created_by: str | None
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Time | None
    requests_per_second: int
    rows_per_second: int
    allowed_networks: list[str]
    previous_valid_until: Annotated[
        Time | None, Meta(description="When the secret of before the last rotation ends, or ended.")
    ]

    @classmethod
    def of(cls, token: ApiToken) -> Self:
        return cls(
            id=token.pk,
            name=token.name,
            prefix=token.prefix,
            scopes=token.scopes,
            created_at=token.created_at,
            created_by=token.created_by.email if token.created_by else None,
            expires_at=token.expires_at,
            revoked_at=token.revoked_at,
            last_used_at=token.last_used_at,
            requests_per_second=token.requests_per_second,
            rows_per_second=token.rows_per_second,
            allowed_networks=token.allowed_networks,
            previous_valid_until=token.previous_until,
        )


class RotatedTokenOut(ResponseBody, frozen=True):
    """The new secret, which is shown once, and until when the one before is valid; null where it has ended."""

    secret: str
    previous_valid_until: Time | None


class TokenChanges(Body):
    allowed_networks: list[Annotated[str, Field(max_length=64)]] = Field(
        max_length=1000, description="In CIDR notation, from which alone it may be used; none: from anywhere."
    )


class TokenRotation(Body):
    overlap_hours: int = Field(
        services.OVERLAP_HOURS,
        description=f"How long the secret of before stays valid, at most {services.MAX_OVERLAP_HOURS}; 0: not at all.",
    )


@router.get("/tokens", auth=Scoped(Scope.READ), response=Page[TokenOut])
def list_tokens(request: HttpRequest, cursor: str = "", limit: int = PAGE_SIZE) -> Page[TokenOut]:
    """List the tokens of the project, the newest first, with those that were revoked."""
    rows = caller_of(request).project.tokens.select_related("created_by")
    return page(rows, TokenOut.of, by=("-pk",), cursor=cursor, limit=limit)


@router.patch("/tokens/{int:token_id}", auth=Scoped(SCOPE_OF["token"]), response=TokenOut)
def change_token(request: HttpRequest, token_id: int, body: TokenChanges) -> TokenOut:
    """Set the networks from which a token may be used; requests from elsewhere are answered 403."""
    caller = caller_of(request)
    token = _token(caller.project, token_id)
    services.allow_networks(token=token, networks=body.allowed_networks, actor=caller.actor)
    return TokenOut.of(token)


@router.post("/tokens/{int:token_id}/rotate", auth=Scoped(SCOPE_OF["token"]), response=RotatedTokenOut)
def rotate_token(request: HttpRequest, token_id: int, body: TokenRotation) -> RotatedTokenOut:
    """Make a token a new secret; the previous one ends after the overlap. The caller needs all scopes of the token."""
    caller = caller_of(request)
    token = _token(caller.project, token_id)
    secret = services.rotate_token(
        token=token, scopes=caller.scopes, actor=caller.actor, now=now(), overlap_hours=body.overlap_hours
    )
    return RotatedTokenOut(secret, token.previous_until)


def _token(project: Project, token_id: int) -> ApiToken:
    token = project.tokens.select_related("created_by").filter(pk=token_id).first()
    if token is None:
        raise not_found("token")
    return token
