"""The pages of a person's own account: their name, the state of all that is theirs, and the tokens that they made."""

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from driftline.base.accounts.access.mfa import needs_mfa
from driftline.base.accounts.models import ApiToken, Membership, User
from driftline.base.accounts.projects import refuse_archived
from driftline.base.accounts.services import rename_person, revoke_token, rotate_token
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.web.pages.account.display import display_of
from driftline.web.pages.project.tokens import RotationForm
from monitors.digests.models import Digest


class PersonForm(forms.Form):
    """How others see the person."""

    name = forms.CharField(
        max_length=150, required=False, help_text="Others in your projects see it beside your address."
    )


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def profile(request: HttpRequest) -> HttpResponse:
    """Show an account; a POST changes the name."""
    user = request.user
    assert isinstance(user, User)
    form = PersonForm(request.POST or None, initial={"name": user.get_full_name()})
    if request.method == "POST" and form.is_valid():
        rename_person(user=user, name=form.cleaned_data["name"])
        messages.success(request, "Your name is saved.")
        return redirect("profile")
    memberships = Membership.objects.filter(user=user, project__archived_at=None)
    context = {
        "form": form,
        "display_choice": display_of(request),
        "digest": Digest.objects.filter(user=user).first(),
        "factors": set(Authenticator.objects.filter(user=user).values_list("type", flat=True)),
        "needs_mfa": needs_mfa(user),
        "other_sessions": sum(not one.is_current() for one in UserSession.objects.purge_and_list(user)),
        "memberships": memberships.select_related("project").order_by("project__name", "pk"),
        "tokens": _own_tokens(user).order_by("project__name", "-pk"),
        "now": now(),
    }
    return render(request, "pages/account/profile.html", context, status=422 if form.errors else 200)


def _own_tokens(user: User) -> QuerySet[ApiToken]:
    """Return the tokens that a person made and that are not revoked, of the projects where they are a member."""
    made = ApiToken.objects.filter(created_by=user, revoked_at=None, project__members=user)
    return made.select_related("project")


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def own_token(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a token that the person made; a POST revokes it, or gives it a new secret where their role suffices."""
    user = request.user
    assert isinstance(user, User)
    token = _own_tokens(user).filter(pk=pk).first()
    if token is None:
        raise Http404
    scopes = Membership.objects.get(project=token.project, user=user).scopes
    do, secret = request.POST.get("do"), None
    form = RotationForm(request.POST if do == "rotate" else None)
    try:
        if request.method == "POST":
            refuse_archived(token.project)
        if do == "revoke":
            revoke_token(token=token, actor=user.email, now=now())
            messages.success(request, f"{token.prefix}… is revoked; serving refuses it within a second.")
            return redirect("profile")
        if do == "rotate" and form.is_valid():
            hours = form.cleaned_data["overlap_hours"]
            secret = rotate_token(
                token=token, scopes=scopes, actor=user.email, now=now(), overlap_hours=hours
            )
    except Problem as problem:
        messages.error(request, problem.detail)
        return redirect("own_token", pk=pk)
    context = {
        "token": token,
        "form": form,
        "rotation_form": form,
        "may_rotate": scopes.issuperset(token.scopes),
        "secret": secret,
        "now": now(),
    }
    return render(request, "pages/account/own_token.html", context, status=422 if form.errors else 200)
