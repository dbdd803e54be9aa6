"""How a person likes pages: light or dark, and the time zone that moments are written in.

Both are cookies of the browser, since what suits a screen at night is not a matter of the account. The script of the
pages sets the zone of the browser once; days and windows stay what they are, intervals of UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods

from inference.data_files.times import offered_zones, time_zones

type Handler = Callable[[HttpRequest], HttpResponse]
type Theme = Literal["system", "light", "dark"]

THEME_COOKIE, ZONE_COOKIE = "theme", "time_zone"
_YEAR_SECONDS = 365 * 24 * 3600
_zone: ContextVar[tzinfo] = ContextVar("display_zone", default=UTC)


@dataclass(frozen=True)
class Display:
    """What a browser asked for; anything unknown in a cookie counts as nothing."""

    theme: Theme
    zone: str


def display_of(request: HttpRequest) -> Display:
    """Read a browser's choice."""
    theme, zone = request.COOKIES.get(THEME_COOKIE, ""), request.COOKIES.get(ZONE_COOKIE, "")
    return Display(
        theme if theme in get_args(Theme.__value__) else "system",  # type: ignore[arg-type]
        zone if zone in time_zones() else "UTC",
    )


def localise(moment: datetime) -> datetime:
    """Return a moment in the time zone of who looks at the page."""
    return moment.astimezone(_zone.get())


class WriteTimesInZone:
    """Makes pages write moments in the zone that the browser asked for."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        token = _zone.set(ZoneInfo(display_of(request).zone))
        try:
            return self.get_response(request)
        finally:
            _zone.reset(token)


class DisplayForm(forms.Form):
    """Theme and time zone."""

    theme = forms.ChoiceField(
        choices=[("system", "As the system"), ("light", "Light"), ("dark", "Dark")], widget=forms.RadioSelect
    )
    zone = forms.ChoiceField(label="Time zone")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        offer_zones(self)


def offer_zones(form: forms.Form) -> None:
    """Offer the usual time zones in a form's field `zone`, and the one that was chosen before, by whatever name."""
    field = form.fields["zone"]
    assert isinstance(field, forms.ChoiceField)
    before = str(form.get_initial_for_field(field, "zone") or "UTC")
    field.choices = [(zone, zone) for zone in dict.fromkeys((*offered_zones(), before))]


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def display(request: HttpRequest) -> HttpResponse:
    """Show the choice, and keep another one in the browser."""
    current = display_of(request)
    form = DisplayForm(request.POST or None, initial={"theme": current.theme, "zone": current.zone})
    back = request.POST.get("next") or request.headers.get("referer") or "/"
    if not url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure()):
        back = "/"
    if not form.is_valid():
        status = 422 if form.errors else 200
        return render(request, "pages/account/display.html", {"form": form, "next": back}, status=status)
    response = redirect(back)
    for name, value in ((THEME_COOKIE, form.cleaned_data["theme"]), (ZONE_COOKIE, form.cleaned_data["zone"])):
        # The script of the pages reads whether there is a zone.
        response.set_cookie(
            name, value, max_age=_YEAR_SECONDS, samesite="Lax", secure=request.is_secure(), httponly=False
        )
    return response
