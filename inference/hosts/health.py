"""How serving hosts do: what `manage.py doctor` and `/metrics` say of them."""

from collections.abc import Iterator

from driftline.base.clock import now
from driftline.base.feature import Finding
from inference.hosts.models import ServingHost


def findings() -> Iterator[Finding]:
    """Yield how each serving host does."""
    for host in ServingHost.objects.active().order_by("name"):
        subject = f"serving host {host.name}"
        if host.last_seen_at is None:
            yield Finding(subject, "has not joined yet")
        elif host.is_away(now()):
            remedy = f"Start it, or run manage.py serving_host revoke {host.name} if it will not come back."
            yield Finding(subject, f"away since {host.last_seen_at:%Y-%m-%d %H:%M:%S} UTC", remedy)
        elif host.failure:
            yield Finding(subject, host.failure, "See its log; it serves what it has and tries again.")
        else:
            yield Finding(subject, f"serves plan {host.generation}")
