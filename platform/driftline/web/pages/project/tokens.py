"""The pages of tokens."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render

from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import ApiToken
from driftline.base.accounts.services import (
    MAX_OVERLAP_HOURS,
    MAX_PER_SECOND,
    OVERLAP_HOURS,
    allow_networks,
    create_token,
    revoke_token,
    rotate_token,
)
from driftline.base.clock import now
from driftline.base.errors import Problem, not_found
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.forms import explain

USUAL_SCOPES = [Scope.INFER, Scope.LOG, Scope.LABEL, Scope.READ]


class NetworksForm(forms.Form):
    """From where a token may be used."""

    allowed_networks = forms.CharField(
        required=False,
        max_length=10_000,
        label="Allowed addresses",
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Networks such as 203.0.113.0/24 or 2001:db8::/32, one a line; requests from elsewhere are answered "
        "403. Empty: from anywhere.",
    )

    def clean_allowed_networks(self) -> list[str]:
        """Split at white space and commas."""
        text: str = self.cleaned_data["allowed_networks"]
        return text.replace(",", " ").split()


class RotationForm(forms.Form):
    """How long the secret of before stays valid beside a new one."""

    overlap_hours = forms.IntegerField(
        min_value=0,
        max_value=MAX_OVERLAP_HOURS,
        initial=OVERLAP_HOURS,
        label="The old secret ends after (hours)",
        help_text="Both are valid until then. 0: it ends at once.",
    )


class TokenForm(NetworksForm):
    name = forms.CharField(max_length=100, help_text="Where it is used, such as 'checkout service'.")
    scopes = forms.MultipleChoiceField(
        initial=USUAL_SCOPES,
        widget=forms.CheckboxSelectMultiple,
        help_text="A token may do no more than who makes it.",
    )
    days = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=3650,
        label="Valid for (days)",
        help_text="Empty: until it is revoked.",
    )
    requests_per_second = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=MAX_PER_SECOND,
        label="Requests a second",
        help_text="To each serving process, in the mean of ten seconds; more are answered 429. Empty: no limit.",
    )
    rows_per_second = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=MAX_PER_SECOND,
        label="Rows a second",
        help_text="That are asked of a model or logged, counted likewise. Empty: no limit.",
    )
    field_order = ("name", "scopes", "days")

    def __init__(self, held: Collection[Scope], data: QueryDict | None = None) -> None:
        super().__init__(data)
        field = self.fields["scopes"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(scope, f"{scope}: {scope.allows}") for scope in Scope if scope in held]


@page("GET", "POST", writes="token")
def tokens(request: PageRequest) -> HttpResponse:
    project = request.visitor.project
    held = request.visitor.scopes
    form = TokenForm(held, request.POST if request.POST.get("do") == "create" else None)
    secret = None
    if request.method == "POST" and form.is_valid():
        try:
            secret = _create_token(request, form.cleaned_data)
            form = TokenForm(held)
        except Problem as problem:
            explain(form, problem)
    context = {
        "tokens": project.tokens.select_related("created_by").order_by("revoked_at", "-pk"),
        "form": form,
        "secret": secret,
        "now": now(),
        "section": "tokens",
    }
    return render(request, "pages/project/tokens.html", context, status=422 if form.errors else 200)


def _create_token(request: PageRequest, values: dict[str, Any]) -> str:
    expires = now() + timedelta(days=values["days"]) if values["days"] else None
    _, text = create_token(
        project=request.visitor.project, name=values["name"], scopes=values["scopes"],
        actor=request.visitor.actor, created_by=request.visitor.user, expires_at=expires,
        requests_per_second=values["requests_per_second"] or 0,
        rows_per_second=values["rows_per_second"] or 0,
        allowed_networks=values["allowed_networks"], held=request.visitor.scopes,
    )  # fmt: skip
    return text


@page("GET", "POST", writes="token")
def token(request: PageRequest, pk: int) -> HttpResponse:
    """Show a token; a POST changes its allowed addresses, or gives it a new secret."""
    visitor, shown = request.visitor, _token(request, pk)
    do, secret = request.POST.get("do"), None
    networks = NetworksForm(
        request.POST if do == "allow" else None,
        initial={"allowed_networks": "\n".join(shown.allowed_networks)},
    )
    rotation = RotationForm(request.POST if do == "rotate" else None)
    form = rotation if do == "rotate" else networks
    if request.method == "POST" and form.is_valid():
        try:
            if do == "rotate":
                hours = rotation.cleaned_data["overlap_hours"]
                secret = rotate_token(
                    token=shown, scopes=visitor.scopes, actor=visitor.actor, now=now(), overlap_hours=hours
                )
            else:
                chosen = networks.cleaned_data["allowed_networks"]
                allow_networks(token=shown, networks=chosen, actor=visitor.actor)
                messages.success(request, f"The allowed addresses of {shown.prefix}… are saved.")
                return redirect("token", pk=pk)
        except Problem as problem:
            explain(form, problem)
    context = {
        "token": shown,
        "networks_form": networks,
        "rotation_form": rotation,
        "form": form,
        "secret": secret,
        "now": now(),
        "section": "tokens",
    }
    return render(request, "pages/project/token.html", context, status=422 if form.errors else 200)


def _token(request: PageRequest, pk: int) -> ApiToken:
    found = request.visitor.project.tokens.filter(pk=pk).first()
    if found is None:
        raise not_found("token")
    return found


@page("GET", "POST", writes="token")
def revoke(request: PageRequest, pk: int) -> HttpResponse:
    """Show what revoking a token does; a POST revokes it."""
    token = _token(request, pk)
    if token.revoked_at is not None:
        raise Problem(409, "already_revoked", f"{token.prefix}… was revoked on {token.revoked_at:%-d %b %Y}.")
    if request.method == "POST":
        revoke_token(token=token, actor=request.visitor.actor, now=now())
        messages.success(request, f"{token.prefix}… is revoked; serving refuses it within a second.")
        return redirect("tokens")
    used = (
        f"was last used on {token.last_used_at:%-d %b %Y %H:%M} UTC"
        if token.last_used_at
        else "was never used"
    )
    context = {
        "title": f"Revoke the token {token.name}",
        "effects": [
            f"Whoever signs in with {token.prefix}… is refused within a second. It {used}.",
            "It cannot be made valid again; a new token can take its place.",
        ],
        "yes": "Yes, revoke it",
        "section": "tokens",
    }
    return render(request, "pages/project/token_revoke.html", context)
