"""The pages of a person's digest: when it comes, and the one that ends it by the link in the e-mail."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from driftline.base.accounts.models import User
from driftline.base.errors import Problem
from driftline.web.pages.account.display import display_of, offer_zones
from driftline.web.pages.forms import explain
from monitors.digests.models import Digest
from monitors.digests.services import check_token, choose_digest, unsubscribe

OFF = ""


class DigestForm(forms.Form):
    """How often, and when."""

    every = forms.ChoiceField(
        choices=[(OFF, "Never"), *Digest.Every.choices],
        widget=forms.RadioSelect,
        required=False,
        label="How often",
    )
    weekday = forms.TypedChoiceField(
        choices=Digest.Weekday.choices, coerce=int, label="Day", help_text="Of a weekly one."
    )
    hour = forms.TypedChoiceField(
        choices=[(hour, f"{hour:02}:00") for hour in range(24)], coerce=int, label="Hour"
    )
    zone = forms.ChoiceField(label="Time zone")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        offer_zones(self)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def digest(request: HttpRequest) -> HttpResponse:
    """Show when a person's digest comes, and change that."""
    assert isinstance(request.user, User)
    form = DigestForm(request.POST or None, initial=_initial(request, request.user))
    if request.method == "POST" and form.is_valid():
        try:
            chosen = choose_digest(user=request.user, **form.cleaned_data)
        except Problem as problem:
            explain(form, problem)
        else:
            messages.success(request, f"Your digest: {chosen}." if chosen else "You get no digest.")
            return redirect("digest")
    return render(request, "pages/account/digest.html", {"form": form}, status=422 if form.errors else 200)


def _initial(request: HttpRequest, user: User) -> dict[str, object]:
    """Return a person's choice; else eight o'clock in the time zone of the browser."""
    chosen = Digest.objects.filter(user=user).first()
    if chosen is None:
        return {"every": OFF, "weekday": 0, "hour": 8, "zone": display_of(request).zone}
    return {name: getattr(chosen, name) for name in ("every", "weekday", "hour", "zone")}


@csrf_exempt  # a mail program posts here (RFC 8058), and the token in the address is the right to
@require_http_methods(["GET", "HEAD", "POST"])
def digest_unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """Ask whether digests shall end; a POST ends them. Looking at the page changes nothing."""
    try:
        if request.method == "POST":
            unsubscribe(token)
        else:
            check_token(token)
    except Problem as problem:
        raise Http404 from problem
    return render(request, "pages/account/digest_unsubscribe.html", {"is_done": request.method == "POST"})
