"""The page of the link in an invitation: it says what joining means, and joins when its button is pressed."""

from urllib.parse import quote

from allauth.account.utils import perform_login
from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_http_methods

from driftline.base.accounts.models import Invitation, Membership, User
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.sign_in import invitations
from driftline.web.pages.forms import explain


class AccountForm(forms.Form):
    """What a new account needs beside the address that was invited."""

    name = forms.CharField(max_length=150, required=False, help_text="As others see it; may stay empty.")
    password = forms.CharField(
        max_length=200,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="At least 12 characters.",
    )


@require_http_methods(["GET", "HEAD", "POST"])
@cache_control(private=True, no_store=True)
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Show an invitation; a POST joins. Looking at it changes nothing: scanners of mail open links too."""
    try:
        found = invitations.read_link(token, now=now())
    except Problem as problem:
        return _refuse(request, problem, token)
    if isinstance(request.user, User):
        return _join(request, token, found, request.user)
    has_account = invitations.account_of(found) is not None
    if has_account or not settings.SIGN_IN.takes_password(found.email):
        context = {
            "invitation": found,
            "has_account": has_account,
            "sign_in": f"/accounts/login/?next={quote(request.get_full_path())}",
        }
        return render(request, "pages/account/invitation.html", context)
    return _make_account(request, token, found)


def _join(request: HttpRequest, token: str, found: Invitation, user: User) -> HttpResponse:
    """Join with the account that is signed in; where it is another person's, the page says so first."""
    if request.method == "POST":
        try:
            membership = invitations.accept(token, user=user, now=now())
        except Problem as problem:
            return _refuse(request, problem, token)
        messages.success(request, f"You are {membership.role} of {membership.project.name}.")
        return redirect(f"{membership.project.path_of(membership.project.slug)}/")
    if user.email.lower() != found.email:
        return _refuse(request, invitations.of_another(found, user))
    return render(request, "pages/account/invitation.html", {"invitation": found, "may_join": True})


def _make_account(request: HttpRequest, token: str, found: Invitation) -> HttpResponse:
    form = AccountForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            membership = invitations.accept_with_new_account(token, now=now(), **form.cleaned_data)
        except Problem as problem:
            if problem.status != 422:
                return _refuse(request, problem)
            explain(form, problem)
        else:
            return _sign_in(request, membership)
    context = {"invitation": found, "form": form}
    return render(request, "pages/account/invitation.html", context, status=422 if form.errors else 200)


def _sign_in(request: HttpRequest, membership: Membership) -> HttpResponse:
    address = f"{membership.project.path_of(membership.project.slug)}/"
    return perform_login(request, membership.user, email_verification="none", redirect_url=address)


def _refuse(request: HttpRequest, problem: Problem, token: str = "") -> HttpResponse:
    """Show why the link lets nobody in; who is in the project has a link to it."""
    user = request.user
    membership = invitations.membership_by_link(token, user=user) if isinstance(user, User) else None
    context: dict[str, object] = {"problem": problem.detail}
    if membership is not None and problem.code == "invitation_used":
        context["problem"] = (
            f"This invitation to {membership.project.name} was used already, and you are a member."
        )
        context["project"] = membership.project
    return render(request, "pages/account/invitation.html", context, status=problem.status)
