"""When a provider is believed: the checks of an ID token (OpenID Connect Core, 3.1.3.7) and of a logout token."""

import hmac
from typing import Any

import jwt
from msgspec import Struct

from driftline.sign_in.single_sign_on.configuration import ProviderSettings
from driftline.sign_in.single_sign_on.discovery import discover, fetch, key_of
from driftline.sign_in.single_sign_on.refusals import SignInRefused

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Public keys alone: with `none`, or with a key that both sides know, anybody could write tokens."""
LEEWAY_SECONDS = 60
MAX_AGE_SECONDS = 480
"""Some providers say that they issued a token five minutes before they did."""
MAX_TOKEN_LENGTH = 100_000
MAX_GROUPS = 2_000
MAX_SUBJECT_LENGTH = 190
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


class PersonClaims(Struct, frozen=True):
    """What a provider says of a person, checked."""

    subject: str
    email: str = ""
    email_verified: bool = False
    name: str = ""
    groups: tuple[str, ...] = ()
    session: str = ""
    session_expires: float | None = None
    """When the session ends at the provider, in seconds since 1970; None where it does not say."""


class EndedSession(Struct, frozen=True):
    """Which sessions end at the provider: all of a person, or those of the named ones that are theirs."""

    subject: str
    sessions: tuple[str, ...]
    token_id: str


def read_claims(
    provider: ProviderSettings, id_token: Any, *, access_token: str, nonce: str, now: float
) -> PersonClaims:
    """Check an ID token and add what the provider answers about the person; raises `SignInRefused`."""
    token = _checked(provider, id_token, now=now)
    if not nonce or not hmac.compare_digest(str(token.get("nonce", "")).encode(), nonce.encode()):
        raise SignInRefused(
            "wrong_nonce", f"The answer of {provider.name} belongs to another sign-in; start again."
        )
    claims = dict(token)
    if userinfo_endpoint := discover(provider).userinfo_endpoint:
        userinfo = fetch(provider, userinfo_endpoint, {"Authorization": f"Bearer {access_token}"})
        if userinfo.get("sub") != token["sub"]:
            raise SignInRefused("wrong_subject", f"{provider.name} answered about another person.")
        claims |= userinfo
    return describe_person(provider, claims, subject=token["sub"], session=_text(token.get("sid")))


def describe_person(
    provider: ProviderSettings,
    claims: dict[str, Any],
    *,
    subject: str,
    session: str,
    session_expires: float | None = None,
) -> PersonClaims:
    """Return what claims, which are believed already, say of a person; raises `SignInRefused`."""
    return PersonClaims(
        subject=subject,
        email=_text(claims.get("email")).lower(),
        email_verified=claims.get("email_verified") in (True, "true") or provider.emails_are_verified,
        name=_text(claims.get("name"))[:150],
        groups=_groups(provider, claims),
        session=session,
        session_expires=session_expires,
    )


def read_logout_token(provider: ProviderSettings, text: str, *, now: float) -> EndedSession:
    """Check a logout token (OpenID Connect Back-Channel Logout, 2.6); raises `SignInRefused`."""
    token = _checked(provider, text, now=now, needs=("jti",))
    events = token.get("events")
    is_logout = isinstance(events, dict) and isinstance(events.get(LOGOUT_EVENT), dict)
    if not is_logout or "nonce" in token:
        raise SignInRefused("no_logout_token", "This is no logout token.")
    session = _text(token.get("sid"))
    ended = EndedSession(_text(token.get("sub")), (session,) if session else (), _text(token["jti"]))
    if not ended.token_id or not (ended.subject or ended.sessions):
        raise SignInRefused("no_logout_token", "A logout token says a person or a session, and has an id.")
    return ended


def _checked(
    provider: ProviderSettings, text: Any, *, now: float, needs: tuple[str, ...] = ("sub", "exp")
) -> dict[str, Any]:
    """Check signature, issuer, audience and times of a token."""
    if not isinstance(text, str) or not 0 < len(text) <= MAX_TOKEN_LENGTH:
        raise SignInRefused(
            "no_token", f"{provider.name} sent no ID token; its client needs the scope openid."
        )
    try:
        header = jwt.get_unverified_header(text)
        if header.get("alg") not in ALGORITHMS:
            raise SignInRefused(
                "wrong_algorithm",
                f"{provider.name} signed with {str(header.get('alg'))[:20]!r}; only signatures by a public key are "
                f"taken, such as {ALGORITHMS[0]}.",
            )
        token = jwt.decode(
            text,
            key_of(provider, header.get("kid")),
            algorithms=[*ALGORITHMS],
            issuer=provider.issuer,
            audience=provider.client_id,
            options={
                "require": ["iss", "aud", "iat", *needs],
                "verify_exp": False, "verify_iat": False, "verify_nbf": False,
            },
        )  # fmt: skip
    except jwt.InvalidAudienceError as error:
        raise SignInRefused(
            "wrong_audience", f"The token of {provider.name} is for another program."
        ) from error
    except jwt.InvalidIssuerError as error:
        raise SignInRefused("wrong_issuer", f"The token is not issued by {provider.issuer}.") from error
    except jwt.MissingRequiredClaimError as error:
        raise SignInRefused(
            "incomplete_token", f"The token of {provider.name} lacks {error.claim}."
        ) from error
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise SignInRefused(
            "wrong_signature", f"The token of {provider.name} is not signed by it: {str(error)[:100]}."
        ) from error
    if isinstance(token["aud"], list) and len(token["aud"]) > 1 and token.get("azp") != provider.client_id:
        raise SignInRefused("wrong_audience", f"The token of {provider.name} is for another program.")
    if "sub" in needs and not (isinstance(token["sub"], str) and 0 < len(token["sub"]) <= MAX_SUBJECT_LENGTH):
        raise SignInRefused("incomplete_token", f"{provider.name} says no person in the token.")
    _check_times(provider, token, now)
    return dict(token)


def _check_times(provider: ProviderSettings, token: dict[str, Any], now: float) -> None:
    """Refuse a token of another time: an old one, or one of a server with another clock."""
    times = [token.get(name, bound) for name, bound in (("iat", now), ("exp", now + 1), ("nbf", now))]
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in times):
        raise SignInRefused("incomplete_token", f"The times of the token of {provider.name} are no numbers.")
    issued, expires, valid_from = times
    check_times(provider, issued=issued, valid_from=valid_from, expires=expires, now=now)


def check_times(
    provider: ProviderSettings, *, issued: float, valid_from: float, expires: float, now: float
) -> None:
    """Refuse what was issued at another time, in seconds since 1970; raises `SignInRefused`."""
    ahead = max(issued, valid_from) - now
    if ahead > LEEWAY_SECONDS:
        raise SignInRefused(
            "wrong_clock",
            f"The clock of {provider.name} is {ahead / 60:.0f} min ahead of this server's; an operator sets it.",
        )
    if now - issued > MAX_AGE_SECONDS or now - expires > LEEWAY_SECONDS:
        raise SignInRefused(
            "expired_token",
            f"The answer of {provider.name} is {(now - issued) / 60:.0f} min old; start again. If it happens again, "
            "the clocks of the two servers differ: the operator sets them right.",
        )


def _groups(provider: ProviderSettings, claims: dict[str, Any]) -> tuple[str, ...]:
    """Return the groups of the claim; none where it is missing, as some providers leave an empty one out."""
    if provider.groups_from != "claim":
        return ()
    overflow = claims.get("_claim_names")
    if isinstance(overflow, dict) and provider.groups_claim in overflow:
        raise SignInRefused(
            "too_many_groups",
            f"{provider.name} says more groups than fit into its answer; its administrator limits them to those "
            "assigned to this program.",
        )
    value = claims.get(provider.groups_claim)
    listed = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(sorted({one for one in listed[:MAX_GROUPS] if isinstance(one, str)}))


def _text(value: Any) -> str:
    """Return what is text and can be stored, in a sensible length."""
    return value[:254] if isinstance(value, str) and value.isprintable() else ""
