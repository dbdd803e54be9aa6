"""The admin's own forms for passwords, closed: they know neither a second factor nor a limit of tries."""

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode


def admin_login(request: HttpRequest) -> HttpResponse:
    """Lead to the sign-in, and back to the page of the admin that was asked for."""
    address = request.GET.get("next", "")
    if not url_has_allowed_host_and_scheme(address, allowed_hosts=None):
        address = reverse("admin:index")
    if not request.user.is_authenticated:
        return redirect(f"{reverse('account_login')}?{urlencode({'next': address})}")
    if not request.user.is_staff:
        raise PermissionDenied
    return redirect(address)


def admin_password_change(request: HttpRequest) -> HttpResponse:
    """Lead to the form for one's own password, which counts tries and leaves an audit row."""
    return redirect("account_change_password")
