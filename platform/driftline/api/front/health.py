"""Whether this process lives, and whether it can do its work. Open to all, and they say nothing else."""

from functools import cache

from django.conf import settings
from django.db import Error, close_old_connections, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe
from kombu import Connection

from driftline.api.front.probes import Check, Checks, Readiness
from driftline.base.database.watch import WATCH
from driftline.base.http.problems import with_problems
from driftline.base.work.broker import QUICK_SECONDS, transport_options
from driftline.operations.models import Heartbeat

HEARTBEAT_SECONDS = 60


@with_problems
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer that the process lives; nothing else is looked at."""
    return JsonResponse({"status": "ok"})


@with_problems
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Answer whether requests can be answered: 503 without a database or with migrations to run.

    Broker and workers are reported too, and make it no more than `degraded`: without them work waits, and none is lost.
    """
    status, body = judge(check_database() | check_broker())
    return JsonResponse(body, status=status)


def probed_readiness() -> Readiness:
    """Look at what this process needs, on threads of its own."""
    database = Check(_check_database_on_own_thread, ("database", "workers"))
    return Readiness((database, Check(check_broker, ("broker",))), judge)


def judge(checks: Checks) -> tuple[int, dict[str, object]]:
    """Return the HTTP status and the body that follow from the checks."""
    if checks["database"] != "ok":
        return 503, {"status": "unready", "checks": checks}
    is_whole = all(found == "ok" for found in checks.values())
    return 200, {"status": "ready" if is_whole else "degraded", "checks": checks}


def check_database() -> Checks:
    """Look whether the database answers and is migrated, and whether workers consume."""
    database = _database()
    return {"database": database, "workers": _workers() if database == "ok" else "unknown"}


def _check_database_on_own_thread() -> Checks:
    """Look as `check_database` does, on a thread that serves no request, and so has nobody to look after it."""
    close_old_connections()
    with WATCH.request():
        try:
            return check_database()
        except Error:
            return {"database": "away", "workers": "unknown"}


def check_broker() -> Checks:
    """Look whether the broker answers."""
    return {"broker": _broker()}


def _database() -> str:
    try:
        applied = MigrationRecorder(connection).applied_migrations()
    except Error:
        return "away"
    waiting = _shipped_migrations() - set(applied)
    return f"{len(waiting)} migrations to run" if waiting else "ok"


@cache
def _shipped_migrations() -> frozenset[tuple[str, str]]:
    """Name the migrations of this program; to look for them reads every file."""
    return frozenset(MigrationLoader(None).graph.nodes)


def _broker() -> str:
    url = settings.CELERY_BROKER_URL
    options = transport_options(url, seconds=QUICK_SECONDS)
    try:
        with Connection(url, connect_timeout=QUICK_SECONDS, transport_options=options) as broker:
            broker.ensure_connection(max_retries=1, timeout=round(QUICK_SECONDS))
    except Exception:  # each transport raises its own kinds
        return "away"
    return "ok"


def _workers() -> str:
    """Judge by the newest tick that a worker consumed: a process that exists may have stopped consuming."""
    newest = Heartbeat.objects.filter(name="worker").annotate(now=Now()).first()
    if newest is None:
        return "no heartbeat yet"
    age = round((newest.now - newest.at).total_seconds())
    return "ok" if age <= HEARTBEAT_SECONDS else f"last heartbeat {age} s ago"
