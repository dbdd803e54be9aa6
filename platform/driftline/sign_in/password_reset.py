"""Asking for a new password: the answer is the same for everybody, and the letter goes out after it."""

from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.forms import ResetPasswordForm, default_token_generator
from allauth.account.internal.userkit import filter_users_by_email
from allauth.account.utils import user_pk_to_url_str
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.core.mail import send_mail
from django.http import HttpRequest
from django.template.loader import render_to_string

from driftline.base.accounts.audit import sign_ins as sign_in_audit
from driftline.base.accounts.models import User
from driftline.base.work.task_queue import Task, enqueue


class RequestResetForm(ResetPasswordForm):
    """Looks nobody up and writes to nobody: how long that takes would tell who has an account."""

    def clean_email(self) -> str:
        self.users: list[Any] = []
        email: str = get_adapter().clean_email(self.cleaned_data["email"].lower())
        return email

    def save(self, request: HttpRequest, **_: Any) -> str:
        email: str = self.cleaned_data["email"]
        sign_in_audit.reset_requested(email=email)
        enqueue(Task.SEND_RESET_MAIL, email=email)
        return email


def is_kept_by_a_provider(user: User) -> bool:
    """Return whether somebody signs in by a provider alone: a password would outlive the account closed there."""
    if user.has_usable_password():
        return False
    return bool(user.provisioned_by) or SocialAccount.objects.filter(user=user).exists()


def send_reset_mails(email: str) -> None:
    """Write a link to each active account of `email`; to nobody where there is none, or a password opens nothing."""
    if not settings.SIGN_IN.takes_password(email):
        return
    for user in filter_users_by_email(email, is_active=True, prefer_verified=True, for_login=True):
        if is_kept_by_a_provider(user):
            continue
        key = f"{user_pk_to_url_str(user)}-{default_token_generator.make_token(user)}"
        link = get_adapter().get_reset_password_from_key_url(key)
        text = render_to_string("account/email/reset.txt", {"link": link, "public_url": settings.PUBLIC_URL})
        send_mail("[Driftline] A new password", text, settings.DEFAULT_FROM_EMAIL, [email])
