"""/metrics for Prometheus: what the serving processes counted, and what waits in the database."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.db.models import Count, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from driftline.accounts.audit_export.selectors import export_statuses
from driftline.accounts.http_auth import Caller
from driftline.accounts.single_sign_on.refusals import count_refusals
from driftline.api.problems import with_problems
from driftline.common.clock import now
from driftline.models import Heartbeat
from driftline.observability.scrapers import scraper_of
from driftline.observability.serving import ServingCollector
from driftline.progress import STATUSES, progress_of_each
from driftline.stuck_work import failed_work
from inference.prediction_log.events.models import EventHalf
from inference.prediction_log.lake.models import Lake
from inference.prediction_log.lake.selectors import count_due_files
from inference.prediction_log.models import TouchedPeriod
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.selectors import statuses_of
from inference.registry.models import Model
from monitors.alerts.models import Delivery, Incident
from monitors.metrics.models import PendingEvaluation
from monitors.sinks.models import Sink
from monitors.sinks.readers import statuses_of as statuses_of_sink
from monitors.summaries.models import StaleWindow
from monitors.workflows.models import ACTIVE_STATES, Run


@with_problems
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Give the metrics to a scraper on this machine, or to a token with scope `read` those of its project."""
    caller = scraper_of(request)
    registry = CollectorRegistry()
    registry.register(ServingCollector(settings.HOME, _names(caller), settings.METRIC_ALIASES))
    registry.register(BacklogCollector(caller))
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def _names(caller: Caller | None) -> dict[int, tuple[str, str]]:
    """Return project and name of each model that the caller may see."""
    models = Model.objects.select_related("project")
    if caller is not None:
        models = models.filter(project=caller.project)
    return {model.pk: (model.project.slug, model.name) for model in models}


# -- the database ------------------------------------------------------------------------------------------------------
class BacklogCollector(Collector):
    """Counts work that is due, what is wrong, and what is under way."""

    def __init__(self, caller: Caller | None) -> None:
        self._caller = caller

    def describe(self) -> Iterable[Metric]:
        """Yield the metrics without values, which needs no database."""
        return [_family(name) for name in _BACKLOG]

    def collect(self) -> Iterable[Metric]:
        """Yield the present counts."""
        due = _family("driftline_work_due")
        work: dict[str, QuerySet[Any]] = {
            "touched_period": TouchedPeriod.objects.due(),
            "stale_window": StaleWindow.objects.due(),
            "pending_evaluation": PendingEvaluation.objects.due(),
        }
        for kind, rows in work.items():
            due.add_metric([kind], self._mine(rows, "model__project").count())
        due.add_metric(["delivery"], self._mine(_due_deliveries(), "channel__project").count())
        yield due
        failed = _family("driftline_work_failed")
        for rows in failed_work():
            kind = str(rows.model._meta.verbose_name).replace(" ", "_")
            failed.add_metric([kind], self._mine(rows, "model__project").count())
        yield failed
        incidents = _family("driftline_incidents_open")
        unresolved = self._mine(Incident.objects.exclude(status="resolved"), "project")
        for severity, count in unresolved.values_list("severity").annotate(Count("pk")).order_by("severity"):
            incidents.add_metric([severity], count)
        yield incidents
        models = _family("driftline_models")
        chosen = list(self._mine(Model.objects.all(), "project"))
        statuses = Counter(one.status for one in progress_of_each(chosen).values())
        for status in STATUSES:
            models.add_metric([status], statuses[status])
        yield models
        since = _family("driftline_incident_since_timestamp_seconds")
        for incident in unresolved.select_related("project", "model").order_by("pk"):
            names = [incident.project.slug, incident.model.name, str(incident.pk), incident.severity]
            since.add_metric(names, incident.since.timestamp())
        yield since
        runs = self._mine(Run.objects.filter(state__in=ACTIVE_STATES), "model__project")
        yield _family("driftline_runs_active", runs.count())
        halves = self._mine(EventHalf.objects.all(), "model__project").count()
        yield _family("driftline_event_halves_waiting", halves)
        yield from self._sources()
        yield from self._lakes()
        yield from self._sinks()
        yield from self._audit_exports()
        if self._caller is None:
            yield _family("driftline_sign_ins_refused_total", count_refusals())
        newest = Heartbeat.objects.filter(name="worker").first()
        if newest is not None:
            yield _family("driftline_worker_heartbeat_timestamp_seconds", newest.at.timestamp())

    def _sources(self) -> Iterable[Metric]:
        """Yield how far behind each source is, and what of it could not be stored."""
        lag, objects = _family("driftline_source_lag_messages"), _family("driftline_source_lag_objects")
        letters = _family("driftline_source_dead_letters")
        consumers = _family("driftline_source_consumers")
        found = list(self._mine(Source.objects.select_related("project", "model").order_by("pk"), "project"))
        statuses = statuses_of(found)
        for source in found:
            names, status = [source.project.slug, source.name], statuses[source.pk]
            if status.lag_messages is not None:
                lag.add_metric(names, status.lag_messages)
            if status.lag_objects is not None:
                objects.add_metric(names, status.lag_objects)
            letters.add_metric(names, status.dead_letters)
            consumers.add_metric(names, status.consumers)
        yield from (lag, objects, letters, consumers)

    def _lakes(self) -> Iterable[Metric]:
        """Yield what is still to be written to each lake, and since when one cannot be written to."""
        due, failing = (
            _family("driftline_lake_files_due"),
            _family("driftline_lake_failing_since_timestamp_seconds"),
        )
        counts = count_due_files()
        for lake in self._mine(Lake.objects.select_related("project").order_by("pk"), "project"):
            due.add_metric([lake.project.slug], counts.get(lake.project_id, 0))
            if lake.failing_since is not None:
                failing.add_metric([lake.project.slug], lake.failing_since.timestamp())
        yield from (due, failing)

    def _sinks(self) -> Iterable[Metric]:
        """Yield what each stream of a sink has sent and lost, and how far it is behind."""
        names = ("waiting_rows", "lag_seconds", "sent_rows", "lost_rows")
        families = [_family(f"driftline_sink_{name}") for name in names]
        failing = _family("driftline_sink_failing_since_timestamp_seconds")
        for sink in self._mine(Sink.objects.select_related("project").order_by("pk"), "project"):
            for status in statuses_of_sink(sink, now=now()):
                values = (status.waiting, status.behind_seconds, status.sent, status.lost)
                for family, value in zip(families, values, strict=True):
                    family.add_metric([sink.project.slug, status.kind], value)
            if sink.failing_since is not None:
                failing.add_metric([sink.project.slug], sink.failing_since.timestamp())
        yield from (*families, failing)

    def _audit_exports(self) -> Iterable[Metric]:
        """Yield how far each receiver of audit entries is behind; it is the installation's, so no token's to see."""
        waiting, lag = (
            _family("driftline_audit_export_waiting_entries"),
            _family("driftline_audit_export_lag_seconds"),
        )
        failing = _family("driftline_audit_export_failing_since_timestamp_seconds")
        for status in export_statuses(now=now()) if self._caller is None else ():
            waiting.add_metric([status.receiver], status.waiting)
            lag.add_metric([status.receiver], status.behind_seconds)
            if status.failing_since is not None:
                failing.add_metric([status.receiver], status.failing_since.timestamp())
        yield from (waiting, lag, failing)

    def _mine(self, rows: QuerySet[Any], project: str) -> QuerySet[Any]:
        return rows if self._caller is None else rows.filter(**{project: self._caller.project})


def _due_deliveries() -> QuerySet[Delivery]:
    return Delivery.objects.filter(state=Delivery.State.PENDING, next_attempt_at__lte=Now())


_BACKLOG: dict[str, tuple[str, tuple[str, ...]]] = {
    "driftline_work_due": ("Work rows that nobody works on.", ("kind",)),
    "driftline_work_failed": ("Work rows that failed too often to be tried again.", ("kind",)),
    "driftline_incidents_open": ("Unresolved incidents.", ("severity",)),
    "driftline_models": ("Models by how they are, as in the API.", ("status",)),
    "driftline_incident_since_timestamp_seconds": (
        "When the problem of an unresolved incident began, in event time.",
        ("project", "model", "incident", "severity"),
    ),
    "driftline_runs_active": ("Retrain runs under way.", ()),
    "driftline_event_halves_waiting": ("Halves of events without their other half.", ()),
    "driftline_source_lag_messages": (
        "Messages of a source behind those that are stored, as its broker last said.",
        ("project", "source"),
    ),
    "driftline_source_lag_objects": (
        "Objects of a source that are not read yet, as its last pass over the listing found.",
        ("project", "source"),
    ),
    "driftline_source_dead_letters": (
        "Messages of a source that could not be stored.",
        ("project", "source"),
    ),
    "driftline_source_consumers": ("Processes that read a source at present.", ("project", "source")),
    "driftline_lake_files_due": ("Files of a lake that could be written now.", ("project",)),
    "driftline_lake_failing_since_timestamp_seconds": (
        "Since when a lake cannot be written to; absent while it can. Retention keeps the rows meanwhile.",
        ("project",),
    ),
    "driftline_sink_waiting_rows": ("Rows or events that wait to be sent.", ("project", "stream")),
    "driftline_sink_lag_seconds": ("How long the oldest of them has waited.", ("project", "stream")),
    "driftline_sink_sent_rows": ("Messages of a sink that were acknowledged.", ("project", "stream")),
    "driftline_sink_lost_rows": (
        "Rows that were damaged, erased or dropped by retention before they were sent.",
        ("project", "stream"),
    ),
    "driftline_sink_failing_since_timestamp_seconds": (
        "Since when nothing can be sent to a sink; absent while it can.",
        ("project",),
    ),
    "driftline_audit_export_waiting_entries": (
        "Audit entries that a receiver does not have yet.",
        ("receiver",),
    ),
    "driftline_audit_export_lag_seconds": ("How long the oldest of them has waited.", ("receiver",)),
    "driftline_audit_export_failing_since_timestamp_seconds": (
        "Since when no audit entries can be sent to a receiver; absent while they can.",
        ("receiver",),
    ),
    "driftline_sign_ins_refused_total": ("Sign-ins by a provider that were refused.", ()),
    "driftline_worker_heartbeat_timestamp_seconds": ("When a worker last consumed a tick.", ()),
}
"""Help and labels of each metric."""


def _family(name: str, value: float | None = None) -> GaugeMetricFamily | CounterMetricFamily:
    """Make a metric; only one without labels takes its value at once."""
    help_text, labels = _BACKLOG[name]
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    family = kind(name, help_text, labels=labels)
    if value is not None:
        family.add_metric((), value)
    return family
