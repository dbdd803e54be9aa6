"""What the page of the sign-in offers."""

from typing import Any

from allauth.account.utils import get_next_redirect_url
from django import template
from django.conf import settings
from django.urls import reverse
from django.utils.http import urlencode

register = template.Library()


@register.simple_tag(takes_context=True)
def sign_in_choices(context: dict[str, Any]) -> dict[str, Any]:
    """Return the providers with the addresses that lead to them, and whether hardly anybody may use a password."""
    next_url = get_next_redirect_url(context["request"])
    query = f"?{urlencode({'next': next_url})}" if next_url else ""
    return {
        "providers": [
            {
                "name": one.name,
                "address": reverse(one.login_route, kwargs={"provider_id": one.id}) + query,
            }
            for one in settings.SIGN_IN.providers
        ],
        "are_passwords_rare": settings.SIGN_IN.passwords_for is not None,
    }
