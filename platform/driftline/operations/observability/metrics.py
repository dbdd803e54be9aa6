"""/metrics for Prometheus: what the serving processes counted, and what waits in the database."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
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

from driftline.base.accounts.access.http_auth import Caller
from driftline.base.clock import now
from driftline.base.feature import FeatureMetrics, Sample, features
from driftline.base.http.problems import with_problems
from driftline.operations.audit_export.selectors import export_statuses
from driftline.operations.models import Heartbeat
from driftline.operations.observability.scrapers import scraper_of
from driftline.operations.observability.serving import ServingCollector
from driftline.operations.progress import STATUSES, progress_of_each
from driftline.operations.stuck_work import failed_work
from driftline.sign_in.single_sign_on.refusals import count_refusals
from inference.prediction_log.events.models import EventHalf
from inference.prediction_log.models import TouchedPeriod
from inference.registry.models import Model
from monitors.alerts.models import Delivery, Incident
from monitors.metrics.store.models import PendingEvaluation
from monitors.summaries.models import StaleWindow
from monitors.workflows.models import ACTIVE_STATES, Run


@with_problems
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics to a scraper on this machine, or to a token with scope `read` those of its project."""
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
        return [_family(name, *described) for name, described in _families().items()]

    def collect(self) -> Iterable[Metric]:
        """Yield the present counts."""
        families = {name: _family(name, *described) for name, described in _families().items()}
        for name, labels, value in self._samples():
            families[name].add_metric(labels, value)
        return families.values()

    def _samples(self) -> Iterator[Sample]:
        yield from self._work()
        yield from self._incidents()
        statuses = Counter(
            one.status for one in progress_of_each(list(self._mine(Model.objects.all(), "project"))).values()
        )
        for status in STATUSES:
            yield "driftline_models", [status], statuses[status]
        runs = Run.objects.filter(state__in=ACTIVE_STATES)
        yield "driftline_runs_active", [], self._mine(runs, "model__project").count()
        halves = self._mine(EventHalf.objects.all(), "model__project")
        yield "driftline_event_halves_waiting", [], halves.count()
        for one in _metrics_of_features():
            yield from one.samples(self._caller.project if self._caller else None)
        if self._caller is None:
            yield from _audit_exports()
            yield "driftline_sign_ins_refused_total", [], count_refusals()
        newest = Heartbeat.objects.filter(name="worker").first()
        if newest is not None:
            yield "driftline_worker_heartbeat_timestamp_seconds", [], newest.at.timestamp()

    def _work(self) -> Iterator[Sample]:
        """Yield how much work is due, and what failed too often, by its kind."""
        due: dict[str, QuerySet[Any]] = {
            "touched_period": TouchedPeriod.objects.due(),
            "stale_window": StaleWindow.objects.due(),
            "pending_evaluation": PendingEvaluation.objects.due(),
        }
        for kind, rows in due.items():
            yield "driftline_work_due", [kind], self._mine(rows, "model__project").count()
        deliveries = Delivery.objects.filter(state=Delivery.State.PENDING, next_attempt_at__lte=Now())
        yield "driftline_work_due", ["delivery"], self._mine(deliveries, "channel__project").count()
        for rows in failed_work():
            kind = str(rows.model._meta.verbose_name).replace(" ", "_")
            yield "driftline_work_failed", [kind], self._mine(rows, "model__project").count()

    def _incidents(self) -> Iterator[Sample]:
        unresolved = self._mine(Incident.objects.exclude(status="resolved"), "project")
        for severity, count in unresolved.values_list("severity").annotate(Count("pk")).order_by("severity"):
            yield "driftline_incidents_open", [severity], count
        for incident in unresolved.select_related("project", "model").order_by("pk"):
            names = [incident.project.slug, incident.model.name, str(incident.pk), incident.severity]
            yield "driftline_incident_since_timestamp_seconds", names, incident.since.timestamp()

    def _mine(self, rows: QuerySet[Any], project: str) -> QuerySet[Any]:
        return rows if self._caller is None else rows.filter(**{project: self._caller.project})


def _audit_exports() -> Iterator[Sample]:
    """Yield how far each receiver of audit entries is behind; it is the installation's, so no token's to see."""
    for status in export_statuses(now=now()):
        yield "driftline_audit_export_waiting_entries", [status.receiver], status.waiting
        yield "driftline_audit_export_lag_seconds", [status.receiver], status.behind_seconds
        if status.failing_since is not None:
            since = status.failing_since.timestamp()
            yield "driftline_audit_export_failing_since_timestamp_seconds", [status.receiver], since


_BACKLOG: dict[str, tuple[str, Sequence[str]]] = {
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


def _metrics_of_features() -> list[FeatureMetrics]:
    return [feature.metrics for feature in features() if feature.metrics is not None]


def _families() -> Mapping[str, tuple[str, Sequence[str]]]:
    return dict(chain(_BACKLOG.items(), *(one.families.items() for one in _metrics_of_features())))


def _family(name: str, help_text: str, labels: Sequence[str]) -> GaugeMetricFamily | CounterMetricFamily:
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    return kind(name, help_text, labels=labels)
