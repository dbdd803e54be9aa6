"""Accounts that a provider makes, changes, and switches off and on."""

from collections.abc import Iterable
from typing import Any

from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import Q, QuerySet
from msgspec import UNSET

from driftline.base.accounts.models import ApiToken, DirectoryGroup, Membership, User
from driftline.base.accounts.operators import operators, refuse_last_operator
from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem
from driftline.sign_in.activation import note_activation
from driftline.sign_in.directory.documents import SentUser, read_user
from driftline.sign_in.directory.patches import patched
from driftline.sign_in.directory.refusals import DirectoryRefusal, no_such, wrong_value
from driftline.sign_in.single_sign_on.configuration import ProviderSettings
from driftline.sign_in.single_sign_on.roles import apply_grants
from driftline.sign_in.single_sign_on.sessions import end_all_sessions

MAX_EMAIL_LETTERS = 254


def users_of(provider: ProviderSettings) -> QuerySet[User]:
    """List the accounts that a provider keeps: those that it made, and those that signed in by it."""
    linked = SocialAccount.objects.filter(provider=provider.id).values("user")
    made = Q(provisioned_by=provider.id) & ~Q(directory_name="")
    return User.objects.filter(made | Q(pk__in=linked)).order_by("pk")


def get_user(provider: ProviderSettings, user_id: int) -> User:
    """Return one of them; raises `DirectoryRefusal` 404."""
    user = users_of(provider).filter(pk=user_id).first()
    if user is None:
        raise no_such("user")
    return user


def create_user(provider: ProviderSettings, sent: SentUser) -> User:
    """Make an account without a password, or take over one of the same address where the operator trusts the provider.

    Raises `DirectoryRefusal` 409 for an account that there is already.
    """
    with transaction.atomic():
        _refuse_taken_name(provider, sent, None)
        email = _email(provider, sent)
        user = User.objects.select_for_update().filter(email__iexact=email).first()
        if user is None:
            user = User(email=email)
            user.set_unusable_password()
            action = "user.create"
        elif users_of(provider).filter(pk=user.pk).exists():
            raise _taken(f"There is an account {email} already.")
        elif not (user.provisioned_by == provider.id or provider.link_verified_emails):
            raise _taken(
                f"There is an account {email} already, which {provider.name} did not make; set "
                f"link_verified_emails for {provider.id} to have it taken over."
            )
        else:
            action = "user.link"
        _write(provider, user, sent, email)
        record_audit(
            project=None, actor=provider.actor, action=action, subject=user.email,
            after={"provider": provider.id, "external_id": user.external_id},
        )  # fmt: skip
        _switch(provider, user, is_active=sent.active is not False)
    return user


def update_user(provider: ProviderSettings, user_id: int, sent: SentUser) -> User:
    """Make an account as the provider describes it; raises `DirectoryRefusal`."""
    with transaction.atomic():
        user = _locked(provider, user_id)
        _refuse_taken_name(provider, sent, user)
        email, before = _email(provider, sent), user.email
        if email != before.lower():
            if user.is_superuser:
                raise DirectoryRefusal(
                    409, f"{before} is an operator; the address of one is changed in Driftline only."
                )
            if User.objects.filter(email__iexact=email).exclude(pk=user.pk).exists():
                raise _taken(f"Another account has the address {email}.")
            record_audit(
                project=None,
                actor=provider.actor,
                action="email.change",
                subject=email,
                before=before,
                after=email,
            )
            EmailAddress.objects.filter(
                user=user
            ).delete()  # else a letter to the old one would open the account
            end_all_sessions(user, actor=provider.actor)
        else:
            email = before
        _write(provider, user, sent, email)
        if sent.active is not UNSET:
            _switch(provider, user, is_active=sent.active)
    return user


def patch_user(provider: ProviderSettings, user_id: int, body: dict[str, Any]) -> User:
    """Change parts of an account; raises `DirectoryRefusal`."""
    with transaction.atomic():
        user = _locked(provider, user_id)
        before = {
            "userName": user.directory_name or user.email,
            "externalId": user.external_id,
            "displayName": None,
            "name": {"givenName": user.first_name, "familyName": user.last_name},
            "emails": [{"value": user.email, "type": "work", "primary": True}],
            "active": user.is_active,
        }
        after = patched(before, body, tuple(before))
        if after["displayName"] and after["name"] == before["name"]:
            after = after | {"name": None}
        return update_user(provider, user_id, read_user(after))


def remove_user(provider: ProviderSettings, user_id: int) -> None:
    """Switch an account off for good and take its roles; what the person did stays in their name.

    Raises `DirectoryRefusal` 409 for the last admin of a project.
    """
    with transaction.atomic():
        user = _locked(provider, user_id)
        _switch(provider, user, is_active=False)
        for group in DirectoryGroup.objects.filter(provider=provider.id, members=user):
            group.members.remove(user)
        apply_grants(user=user, provider=provider, grants={})
        SocialAccount.objects.filter(user=user, provider=provider.id).delete()
        user.provisioned_by, user.directory_name, user.external_id = provider.id, "", ""
        user.save(update_fields=["provisioned_by", "directory_name", "external_id"])
        record_audit(project=None, actor=provider.actor, action="user.remove", subject=user.email)


def apply_groups(provider: ProviderSettings, users: Iterable[User]) -> None:
    """Assign people the roles of the groups that the provider keeps here, where its file says that these count."""
    if provider.groups_from != "scim":
        return
    for user in users:
        apply_grants(user=user, provider=provider, grants=provider.grants(group_names(provider, user)))


def group_names(provider: ProviderSettings, user: User) -> list[str]:
    """List the names of the groups in which a person is."""
    groups = DirectoryGroup.objects.filter(provider=provider.id, members=user)
    return list(groups.order_by("display_name").values_list("display_name", flat=True))


def _locked(provider: ProviderSettings, user_id: int) -> User:
    """Lock an account; and with it all that administer projects, of whom two must not be switched off at once.

    The operators are locked before the account of one, in the order in which `refuse_last_operator` locks them.
    """
    user = get_user(provider, user_id)
    if user.is_superuser:
        list(operators().select_for_update().order_by("pk"))
    projects = Membership.objects.filter(user=user, role="admin").values("project")
    list(Membership.objects.select_for_update().filter(project__in=projects, role="admin").order_by("pk"))
    User.objects.select_for_update().get(pk=user.pk)
    return get_user(provider, user_id)


def _write(provider: ProviderSettings, user: User, sent: SentUser, email: str) -> None:
    user.email, user.provisioned_by = email, provider.id
    user.directory_name, user.external_id = sent.user_name.strip(), sent.external_id or ""
    user.first_name, user.last_name = sent.names
    user.save()


def _switch(provider: ProviderSettings, user: User, *, is_active: bool) -> None:
    """Switch an account on or off; off ends all sessions, and the tokens that the person made are refused."""
    if user.is_active == is_active:
        return
    if not is_active:
        _refuse_last(user)
    user.is_active = is_active
    user.save(update_fields=["is_active"])
    tokens = ApiToken.objects.filter(created_by=user, revoked_at=None).count()
    record_audit(
        project=None, actor=provider.actor, action="user.activate" if is_active else "user.deactivate",
        subject=user.email, after={"tokens": tokens},
    )  # fmt: skip
    note_activation(user=user, actor=provider.actor)


def _refuse_last(user: User) -> None:
    """Refuse to switch off the only admin of a project, and the only operator."""
    memberships = Membership.objects.filter(user=user).select_related("project").order_by("project__slug")
    alone = [one.project.slug for one in memberships if one.is_last_admin]
    if alone:
        raise DirectoryRefusal(
            409,
            f"{user.email} is the only admin of {', '.join(alone)}; make somebody else an admin there first.",
        )
    try:
        refuse_last_operator(user)
    except Problem as problem:
        raise DirectoryRefusal(problem.status, problem.detail) from problem


def _refuse_taken_name(provider: ProviderSettings, sent: SentUser, user: User | None) -> None:
    same = users_of(provider).filter(directory_name__iexact=sent.user_name.strip())
    if (same.exclude(pk=user.pk) if user else same).exists():
        raise _taken(f"There is a user {sent.user_name!r} already.")


def _email(provider: ProviderSettings, sent: SentUser) -> str:
    try:
        validate_email(sent.email)
    except ValidationError as error:
        raise wrong_value(
            f"{sent.email[:100]!r} is not an e-mail address: send one in emails, or as userName."
        ) from error
    if len(sent.email) > MAX_EMAIL_LETTERS:
        raise wrong_value(f"An e-mail address has at most {MAX_EMAIL_LETTERS} characters here.")
    if not provider.takes_address(sent.email):
        raise wrong_value(f"{sent.email} is of none of the domains that sign in by {provider.name}.")
    return sent.email


def _taken(detail: str) -> DirectoryRefusal:
    return DirectoryRefusal(409, detail, "uniqueness")
