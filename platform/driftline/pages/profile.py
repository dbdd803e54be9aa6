"""The page of a person's own account: their name, and the state of all that is theirs, with links to change it."""

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from driftline.accounts.mfa import needs_mfa
from driftline.accounts.models import Membership, User
from driftline.accounts.services import rename_person
from driftline.pages.display import display_of
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
    }
    return render(request, "pages/profile.html", context, status=422 if form.errors else 200)
