"""Whether this process lives, and whether it can do its work. Open to all; they tell nothing else."""

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe
from kombu import Connection

from driftline.api.problems import with_problems
from driftline.models import Heartbeat

BROKER_SECONDS = 1
HEARTBEAT_SECONDS = 60


@with_problems
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer that the process lives; nothing else is looked at."""
    return JsonResponse({"status": "ok"})


@with_problems
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Tell whether requests can be answered: 503 without a database or with migrations to run.

    Broker and workers are told too, and do not decide: without them work waits, and none is lost.
    """
    database = _database()
    checks = {
        "database": database,
        "broker": _broker(),
        "workers": _workers() if database == "ok" else "unknown",
    }
    is_ready = database == "ok"
    return JsonResponse(
        {"status": "ready" if is_ready else "unready", "checks": checks}, status=200 if is_ready else 503
    )


def _database() -> str:
    try:
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return "away"
    return f"{len(waiting)} migrations to run" if waiting else "ok"


def _broker() -> str:
    try:
        with Connection(settings.CELERY_BROKER_URL, connect_timeout=BROKER_SECONDS) as broker:
            broker.ensure_connection(max_retries=1, timeout=BROKER_SECONDS)
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
