"""The admin's first page: what needs somebody now, and which model takes the disk."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db.models import Count, Min, Q
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.timesince import timesince

from driftline.base.clock import now
from driftline.operations.backup.making import last_backup
from driftline.operations.capacity.figures import ModelSize, largest_models, read_capacity
from driftline.operations.capacity.wording import (
    NOT_SEEN,
    describe_disk,
    describe_growth,
    describe_log_archive,
    describe_rows,
    describe_size,
    fills_soon,
)
from driftline.operations.given_up import given_up, late
from driftline.operations.models import Heartbeat
from driftline.operations.stuck_work import count_failed, stuck_work
from inference.prediction_log.spool.segments import spooled_bytes
from monitors.alerts.models import Alert, Channel, Delivery, Incident
from monitors.workflows.models import ACTIVE_STATES, Run

LATE_BEAT = timedelta(seconds=60)
LATE_RUN = timedelta(hours=24)
RECENT = timedelta(days=1)
MONTH = timedelta(days=30)
RULES_SHOWN = 5
KEPT_SECONDS = 600


@dataclass(frozen=True)
class HealthLine:
    """One thing that was looked at."""

    what: str
    says: str
    needs_somebody: bool = False
    link: str = ""


@dataclass(frozen=True)
class OftenFiring:
    """A rule with the most alerts of late."""

    name: str
    model: str
    alerts: int
    false_alarms: int
    link: str


@dataclass(frozen=True)
class DiskOfModel:
    """What a model takes in the database, and the page of it."""

    size: ModelSize
    link: str


_LINES_OF_FEATURES: list[Callable[[], HealthLine]] = []
_TASKS_OF_FEATURES: list[tuple[str, str]] = []


def extend_home(lines: Iterable[Callable[[], HealthLine]], tasks: Iterable[tuple[str, str]]) -> None:
    """Show what a feature looks at, and what operators come to it for: a title, and the table where it is done."""
    _LINES_OF_FEATURES.extend(lines)
    _TASKS_OF_FEATURES.extend(tasks)


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add what the first page shows, where this person may see all projects."""
    if request.user.is_superuser:
        moment = now()
        context |= {
            "title": "Operations",
            "lines": _lines(moment),
            "tasks": _tasks(),
            "rules": _rules(moment),
            "disk": _disk(moment),
        }
    return context


def _lines(moment: datetime) -> list[HealthLine]:
    return [
        _workers(moment),
        _queue(moment),
        _given_up(),
        _failed_windows(),
        _spool(),
        _deliveries(moment),
        _channels(),
        *(line() for line in _LINES_OF_FEATURES),
        _runs(moment),
        _incidents(),
        *_some_minutes_old(HealthLine, _capacity, moment),
        _backup(moment),
    ]


def _workers(moment: datetime) -> HealthLine:
    beat = Heartbeat.objects.aggregate(oldest=Min("at"))["oldest"]
    if beat is None:
        return HealthLine("Workers", "no worker has taken anything yet", True)
    return HealthLine("Workers", f"took a tick {timesince(beat, moment)} ago", moment - beat > LATE_BEAT)


def _queue(moment: datetime) -> HealthLine:
    """Return how long the oldest work waits, and for what: more than an hour is late."""
    waiting = late()
    if not waiting:
        return HealthLine("Queue", "no work waits longer than an hour")
    oldest = waiting[0]
    text = f"{oldest.kind} {oldest.subject} of {oldest.project} waits for {timesince(oldest.since, moment)}"
    return HealthLine("Queue", f"{len(waiting)} late; the oldest: {text}. {oldest.reason}".strip(), True)


def _given_up() -> HealthLine:
    pieces = given_up()
    if not pieces:
        return HealthLine("Background work", "none was given up")
    first = pieces[0]
    text = f"{len(pieces)} given up; the newest: {first.kind} {first.subject}: {first.reason}"
    return HealthLine("Background work", f"{text}. `manage.py retry_work` begins it again.", True)


def _failed_windows() -> HealthLine:
    failed = count_failed()
    if not failed:
        return HealthLine("Windows", "none failed")
    first = next((one for one in stuck_work() if one.is_failed), None)
    text = f"; the first: {first.what} of {first.model}: {first.reason}" if first else ""
    return HealthLine(
        "Windows", f"{failed:,} could not be worked on{text}", True, list_link("monitors_stalewindow")
    )


def _spool() -> HealthLine:
    size = spooled_bytes(settings.HOME)
    return HealthLine(
        "Spool",
        f"{filesizeformat(size)} on this machine, drained or waiting",
        size > settings.SPOOL_MAX_BYTES // 2,
    )


def _deliveries(moment: datetime) -> HealthLine:
    failed = Delivery.objects.filter(state=Delivery.State.FAILED, created_at__gte=moment - RECENT).count()
    link = list_link("monitors_delivery", "state__exact=failed")
    return HealthLine("Messages", f"{failed:,} failed in the last day", failed > 0, link)


def _channels() -> HealthLine:
    disabled = Channel.objects.filter(enabled=False, deleted_at=None).count()
    return HealthLine(
        "Channels", f"{disabled:,} disabled", disabled > 0, list_link("monitors_channel", "enabled__exact=0")
    )


def _runs(moment: datetime) -> HealthLine:
    active = Run.objects.filter(state__in=ACTIVE_STATES)
    old = active.filter(created_at__lt=moment - LATE_RUN).count()
    text = f"{active.count():,} under way, {old:,} of them for more than a day"
    return HealthLine("Runs", text, old > 0, list_link("monitors_run", "finished_at__isempty=1"))


def _incidents() -> HealthLine:
    incidents = Incident.objects.exclude(status=Incident.Status.RESOLVED).count()
    return HealthLine(
        "Incidents", f"{incidents:,} open", False, list_link("monitors_incident", "status__exact=open")
    )


def _capacity(moment: datetime) -> Iterator[HealthLine]:
    """Yield what comes in, how the database grows, and when each disk that is seen is full."""
    found = read_capacity(moment)
    yield HealthLine("Rows", describe_rows(found))
    yield HealthLine("Database", describe_size(found))
    yield HealthLine("Growth", describe_growth(found.growth))
    if found.archives_log:
        yield HealthLine("Log archive", describe_log_archive(found.log_archive))
    for disk in found.disks:
        is_short = disk.free < disk.total // 10 or fills_soon(disk)
        yield HealthLine(f"Disk of {disk.holds}", describe_disk(disk), is_short)
    if not found.sees_database:
        yield HealthLine("Disk of database", NOT_SEEN)


def _backup(moment: datetime) -> HealthLine:
    made = last_backup()
    if made is None:
        return HealthLine("Last backup", "none was made by manage.py backup", True)
    return HealthLine(
        "Last backup",
        f"{timesince(made.at, moment)} ago, in {made.subject}",
        moment - made.at > timedelta(days=7),
    )


def _disk(moment: datetime) -> list[DiskOfModel]:
    """List the models with the most bytes."""
    return [
        DiskOfModel(size, reverse("admin:inference_model_change", args=[size.model_id]))
        for size in _some_minutes_old(ModelSize, largest_models, moment)
    ]


def _some_minutes_old[Row: (HealthLine, ModelSize)](
    kind: type[Row], read: Callable[[datetime], Iterable[Row]], moment: datetime
) -> list[Row]:
    """Return what `read` gave some minutes ago, as the size of every table or chunk is read for it."""
    key = f"admin-{kind.__name__}"
    found = cache.get_or_set(key, lambda: [astuple(row) for row in read(moment)], KEPT_SECONDS)
    return [kind(*fields) for fields in found or ()]


def _rules(moment: datetime) -> list[OftenFiring]:
    """List the rules with the most alerts in thirty days."""
    recent = Alert.objects.filter(created_at__gte=moment - MONTH, rule__isnull=False)
    false = Count("pk", filter=Q(incident__judgement=Incident.Judgement.FALSE_ALARM))
    most = recent.values("rule", "rule__name", "rule__model__name").annotate(n=Count("pk"), false=false)
    return [
        OftenFiring(
            one["rule__name"],
            one["rule__model__name"],
            one["n"],
            one["false"],
            reverse("admin:monitors_rule_change", args=[one["rule"]]),
        )
        for one in most.order_by("-n")[:RULES_SHOWN]
    ]


def _tasks() -> list[tuple[str, str]]:
    """List what operators come for, with where it is done."""
    return [
        ("Send a message again", list_link("monitors_delivery")),
        ("Disable a rule", list_link("monitors_rule")),
        ("Cancel a run that is stuck", list_link("monitors_run", "finished_at__isempty=1")),
        ("Roll a model back", list_link("inference_model")),
        ("Rebuild a day", list_link("monitors_summary", "span__exact=day&segment__isempty=1")),
        *((title, list_link(table)) for title, table in _TASKS_OF_FEATURES),
        ("Revoke a token, by when it was used last", list_link("accounts_apitoken", "revoked_at__isempty=1")),
        ("Erase a person", reverse("admin:inference_erasure_add")),
        ("See who changed something", list_link("accounts_auditentry")),
        ("See who promoted a version", list_link("inference_deploymentchange")),
    ]


def list_link(name: str, query: str = "") -> str:
    """Return the address of the list of a table, as it is filtered by a query."""
    return reverse(f"admin:{name}_changelist") + (f"?{query}" if query else "")
