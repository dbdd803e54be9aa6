"""Declares to browsers that no page needs a camera, a place or a payment, whatever script might get into one."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

_NOBODY = (
    "accelerometer", "autoplay", "camera", "display-capture", "encrypted-media", "geolocation", "gyroscope", "hid",
    "magnetometer", "microphone", "midi", "payment", "picture-in-picture", "screen-wake-lock", "serial", "usb",
    "xr-spatial-tracking",
)  # fmt: skip
_OURSELVES = ("clipboard-write", "fullscreen", "publickey-credentials-create", "publickey-credentials-get")
POLICY = ", ".join([*(f"{name}=()" for name in _NOBODY), *(f"{name}=(self)" for name in _OURSELVES)])


class PermissionsPolicy:
    """Sets the header on every answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Permissions-Policy", POLICY)
        return response
