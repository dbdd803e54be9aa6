"""Who gets in by a provider: the account that it is linked with, one of the same address, or a new one."""

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from driftline.base.accounts.models import DirectoryGroup, Invitation, User
from driftline.base.accounts.services import record_audit
from driftline.sign_in.single_sign_on.claims import PersonClaims
from driftline.sign_in.single_sign_on.configuration import ProviderSettings
from driftline.sign_in.single_sign_on.refusals import SignInRefused
from driftline.sign_in.single_sign_on.roles import apply_grants


def admit(provider: ProviderSettings, claims: PersonClaims, *, known: User | None) -> User:
    """Return the account that a person signs in to, with the roles that their groups give; raises `SignInRefused`.

    `known` is the account that was linked with the person before.
    """
    if known is not None and not known.is_active:
        raise SignInRefused(
            "account_off",
            f"The account {known.email} is switched off in Driftline; ask an operator.",
            subject=known.email,
        )
    with transaction.atomic():
        user = known or _link(provider, claims)
        groups = claims.groups
        if provider.groups_from == "scim":
            kept = DirectoryGroup.objects.filter(provider=provider.id, members=user)
            groups = tuple(kept.values_list("display_name", flat=True))
        apply_grants(user=user, provider=provider, grants=provider.grants(groups))
    return user


def _link(provider: ProviderSettings, claims: PersonClaims) -> User:
    """Link a person who comes for the first time: with the account of their address, else with a new one."""
    email = _address(provider, claims)
    user = User.objects.select_for_update().filter(email__iexact=email).first()
    if user is None:
        user = _make_account(provider, claims, email)
    elif not user.is_active:
        raise SignInRefused(
            "account_off",
            f"The account {email} is switched off in Driftline; ask an operator.",
            subject=email,
        )
    elif not (provider.link_verified_emails or user.provisioned_by == provider.id):
        raise SignInRefused(
            "account_exists",
            f"There is an account {email} already, which is not linked with {provider.name}. Sign in with its "
            f"password, or ask the operator to set link_verified_emails for {provider.id}.",
            subject=email,
        )
    elif SocialAccount.objects.filter(user=user, provider=provider.id).exists():
        raise SignInRefused(
            "linked_with_another",
            f"The account {email} is linked with another person at {provider.name}: the address went to somebody else "
            "there. Ask an operator.",
            subject=email,
        )
    else:
        record_audit(
            project=None, actor=provider.actor, action="user.link", subject=user.email,
            after={"provider": provider.id, "subject": claims.subject},
        )  # fmt: skip
    return user


def _address(provider: ProviderSettings, claims: PersonClaims) -> str:
    """Return the address by which an account is looked for; one that nobody checked could be anybody's."""
    email = claims.email
    try:
        validate_email(email)
    except ValidationError as error:
        raise SignInRefused(
            "no_email",
            f"{provider.name} says no e-mail address of you; its administrator lets this program see it.",
            subject=claims.subject,
        ) from error
    if not claims.email_verified:
        raise SignInRefused(
            "email_not_verified",
            f"{provider.name} has not checked that {email} is your address; confirm it there, and sign in again.",
            subject=email,
        )
    if not provider.takes_address(email):
        raise SignInRefused(
            "wrong_domain",
            f"{email} is of none of the domains that sign in by {provider.name}: {', '.join(provider.email_domains)}.",
            subject=email,
        )
    return email


def _make_account(provider: ProviderSettings, claims: PersonClaims, email: str) -> User:
    """Make an account, without a password, for somebody who has a role by a group or is invited."""
    is_invited = Invitation.objects.filter(email=email, accepted_at=None, withdrawn_at=None).exists()
    if not (provider.grants(claims.groups) or is_invited):
        raise SignInRefused(
            "no_role",
            f"You are signed in at {provider.name}, and none of your groups there gives you a role in Driftline. Ask "
            "your administrator for one, or an admin of a project for an invitation.",
            subject=email,
        )
    user = User(email=email, first_name=claims.name, provisioned_by=provider.id)
    user.set_unusable_password()
    user.save()
    record_audit(
        project=None, actor=provider.actor, action="user.create", subject=email,
        after={"provider": provider.id, "subject": claims.subject},
    )  # fmt: skip
    return user


def refuse_password(email: str) -> str | None:
    """Return why an account may not use a password; None where it may."""
    if settings.SIGN_IN.takes_password(email):
        return None
    names = " or ".join(one.name for one in settings.SIGN_IN.providers)
    return f"Passwords are switched off here: sign in with {names}."
