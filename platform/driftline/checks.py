"""System checks: settings that would break a promise stop `check` with a hint."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from driftline.api.front.request_pools import THREADS_BESIDE
from driftline.base.feature import features
from driftline.operations.services.listening import is_loopback
from driftline.operations.services.postgres import TUNING
from monitors.workflows.trainers.catalogue import REMOTE, SHIPPED, TrainerNotAllowed, entry_point

# Of the drain, beat, the watches, commands that an operator runs, and what PostgreSQL itself reserves.
OTHER_CONNECTIONS = 20


@register(Tags.security, deploy=True)
def check_public_url(app_configs: Any, **_: Any) -> Sequence[CheckMessage]:
    """Outside loopback nothing is reached without TLS."""
    parts = urlsplit(settings.PUBLIC_URL)
    if parts.scheme == "https" or is_loopback(parts.hostname or ""):
        return []
    return [
        Error(
            f"DRIFTLINE_PUBLIC_URL is {settings.PUBLIC_URL!r}, which is reached without TLS.",
            hint="Set DRIFTLINE_TLS_CERTIFICATE and DRIFTLINE_TLS_KEY, or put a proxy that ends TLS in front and set "
            "DRIFTLINE_BEHIND_TLS=1; use an https:// address.",
            id="driftline.E001",
        )
    ]


@register(Tags.security, deploy=True)
def check_allowed_hosts(app_configs: Any, **_: Any) -> Sequence[CheckMessage]:
    """A Host header that nobody chose gets into links and caches."""
    if "*" not in settings.ALLOWED_HOSTS:
        return []
    return [
        Warning(
            "DRIFTLINE_ALLOWED_HOSTS is *, so any Host header is taken.",
            hint="Name the hosts that people use.",
            id="driftline.W002",
        )
    ]


@register(deploy=True)
def check_trainers(app_configs: Any, **_: Any) -> Sequence[CheckMessage]:
    """Every trainer that the operator allows must exist."""
    warnings: list[CheckMessage] = []
    for name in set(settings.TRAINERS) - {REMOTE}:
        try:
            entry_point(name, settings.TRAINERS)
        except TrainerNotAllowed:
            hint = f"Install it, or use some of {', '.join([*SHIPPED, REMOTE])}."
            warnings.append(
                Warning(
                    f"DRIFTLINE_TRAINERS names {name!r}, which is no trainer.", hint=hint, id="driftline.W001"
                )
            )
    return warnings


@register()
def check_wal_archive(app_configs: Any, **_: Any) -> Sequence[CheckMessage]:
    """The log of a server of one's own is not archived by Driftline."""
    if settings.WAL_ARCHIVE is None or not settings.DATABASE_URL:
        return []
    return [
        Warning(
            "DRIFTLINE_WAL_ARCHIVE is for the embedded PostgreSQL, and DRIFTLINE_DATABASE_URL names another.",
            hint="Archive the log of that server with its own archive_command, and leave DRIFTLINE_WAL_ARCHIVE empty.",
            id="driftline.W003",
        )
    ]


@register()
def check_connections(app_configs: Any, **_: Any) -> Sequence[CheckMessage]:
    """All processes together leave the embedded database some of its connections."""
    threads = settings.WEB_THREADS + settings.LOG_THREADS + THREADS_BESIDE
    consumers = sum(one.max_threads for feature in features() for one in feature.consumers)
    beside = 2 * settings.TASK_WORKERS + consumers + OTHER_CONNECTIONS
    connections = settings.WEB_WORKERS * threads + beside
    most = int(TUNING["max_connections"])
    if settings.DATABASE_URL or connections <= most:
        return []
    return [
        Error(
            f"The processes of this installation may open {connections} connections to the database, which has {most}.",
            hint="Lower DRIFTLINE_WEB_WORKERS, DRIFTLINE_WEB_THREADS or DRIFTLINE_LOG_THREADS, or set "
            "DRIFTLINE_DATABASE_URL.",
            id="driftline.E002",
        )
    ]
