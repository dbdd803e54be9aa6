"""System checks: settings that would break a promise stop `check` with a hint."""

import ipaddress
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from monitors.workflows.trainers.catalogue import SHIPPED, TrainerNotAllowed, entry_point


@register(Tags.security, deploy=True)
def check_public_url(app_configs: Any, **_: Any) -> Sequence[CheckMessage]:
    """Outside loopback nothing is reached without TLS (promise 14)."""
    parts = urlsplit(settings.PUBLIC_URL)
    if parts.scheme == "https" or _is_loopback(parts.hostname or ""):
        return []
    return [
        Error(
            f"DRIFTLINE_PUBLIC_URL is {settings.PUBLIC_URL!r}, which is reached without TLS.",
            hint="Put a proxy that ends TLS in front, set DRIFTLINE_BEHIND_TLS=1 and an https:// address.",
            id="driftline.E001",
        )
    ]


@register(deploy=True)
def check_trainers(app_configs: Any, **_: Any) -> Sequence[CheckMessage]:
    """Every trainer that the operator allows must exist."""
    warnings: list[CheckMessage] = []
    for name in settings.TRAINERS:
        try:
            entry_point(name, settings.TRAINERS)
        except TrainerNotAllowed:
            hint = f"Install it, or use some of {', '.join(SHIPPED)}."
            warnings.append(
                Warning(
                    f"DRIFTLINE_TRAINERS names {name!r}, which is no trainer.", hint=hint, id="driftline.W001"
                )
            )
    return warnings


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
