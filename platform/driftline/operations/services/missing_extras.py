"""Which extras are missing that something stored in this installation needs."""

from collections.abc import Iterator

from driftline.base.extras import APPRISE, Extra, is_installed
from driftline.base.feature import features
from monitors.alerts.models import Channel


def missing_extras() -> dict[Extra, list[str]]:
    """Return the extras that are needed and not installed, each with what needs it."""
    missing: dict[Extra, list[str]] = {}
    for extra, user in _needs():
        if not is_installed(extra):
            missing.setdefault(extra, []).append(user)
    return missing


def _needs() -> Iterator[tuple[Extra, str]]:
    for feature in features():
        yield from feature.needs()
    channels = Channel.objects.filter(kind="apprise", enabled=True, deleted_at=None).select_related("project")
    for channel in channels.order_by("project__slug", "name"):
        yield APPRISE, f"channel {channel.project.slug}/{channel.name}"
