"""Which channels an incident goes to, by the routing tree of its project and its labels."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from driftline.base.accounts.models import Project
from inference.registry.models import Model
from monitors.alerts.channels.callback import CALLBACK
from monitors.alerts.models import Alert, Channel, Incident
from monitors.alerts.routing.inhibition import find_inhibitor
from monitors.alerts.routing.tree import AlertRoute, RoutingTree
from monitors.alerts.stored_routing import routing_of
from monitors.feed.kinds import INCIDENTS
from monitors.metrics.catalogue import METRICS
from monitors.rules.models import Severity


@dataclass(frozen=True)
class Recipient:
    """A channel that an incident goes to, by which route, and whether only where nobody acknowledges."""

    channel: Channel
    route: AlertRoute
    escalates: bool = False


@dataclass(frozen=True)
class RouteTaken:
    """A route that takes an incident: the routes that lead to it, its recipients, and the channels that it names and
    that do not take it, with the reason."""

    chain: tuple[AlertRoute, ...]
    recipients: list[Recipient]
    skipped: list[tuple[str, str]]

    @property
    def route(self) -> AlertRoute:
        return self.chain[-1]


def labels_of(incident: Incident) -> dict[str, str]:
    """Return the labels that an incident is routed by: those of its lead alert, and what only its other alerts or its
    model have; its severity is the highest of its alerts."""
    alerts = list(incident.alerts.filter(state=Alert.State.FIRING).order_by("pk"))
    alerts.sort(key=lambda alert: alert.pk != incident.lead_id)
    labels = _merged(alert.labels for alert in ([incident.lead] if incident.lead else []) + alerts)
    return _merged([labels, labels_of_model(incident.model)]) | {"severity": incident.severity}


def labels_of_model(model: Model) -> dict[str, str]:
    """Return the labels that a model gives its alerts; `tags` has a comma around each tag, for expressions."""
    tags = f",{','.join(map(str, model.tags))}," if model.tags else ""
    return {"model": model.name, "owner": model.owner, "tags": tags}


def complete_labels(project: Project, labels: Mapping[str, str]) -> dict[str, str]:
    """Add what follows from labels that somebody typed: the kind of the metric, owner and tags of the model."""
    more: list[dict[str, str]] = [dict(labels)]
    if metric := METRICS.get(labels.get("metric", "")):
        more.append({"kind": metric.kind})
    if model := Model.objects.filter(project=project, name=labels.get("model", "")).first():
        more.append(labels_of_model(model))
    return _merged(more)


def recipients_of(incident: Incident) -> list[Recipient]:
    """List the channels that an incident goes to, each by the first route that names it, else by an escalation."""
    taken = routes_taken(incident.project, routing_of(incident.project).tree, labels_of(incident))
    found: dict[int, Recipient] = {}
    for escalates in (False, True):
        for recipient in (one for route in taken for one in route.recipients):
            if recipient.escalates == escalates:
                found.setdefault(recipient.channel.pk, recipient)
    return list(found.values())


def routes_taken(project: Project, tree: RoutingTree, labels: Mapping[str, str]) -> list[RouteTaken]:
    """List the routes that take an incident with given labels, with their channels."""
    channels = Channel.objects.filter(project=project, deleted_at=None).exclude(kind=CALLBACK)
    known = {channel.name: channel for channel in channels.select_related("project").order_by("pk")}
    return [_taken(chain, known, labels.get("severity", "")) for chain in tree.resolve(labels)]


def inhibitor_of(incident: Incident) -> str:
    """Return which other incident that is open makes a message about this one needless; empty where none does."""
    rules = routing_of(incident.project).tree.inhibit_rules
    others = Alert.objects.filter(state=Alert.State.FIRING, incident__project=incident.project)
    others = others.exclude(incident=incident).exclude(incident__status=Incident.Status.RESOLVED)
    firing = list(others.select_related("model", "incident").order_by("pk")) if rules else []
    labels = [_merged([alert.labels, labels_of_model(alert.model)]) for alert in firing]
    place = find_inhibitor(rules, labels_of(incident), labels)
    if place is None:
        return ""
    other = firing[place].incident
    return f"Inhibited by INC-{other.pk}, which explains it: {other.title}"[:500]


def _taken(chain: tuple[AlertRoute, ...], known: Mapping[str, Channel], severity: str) -> RouteTaken:
    route = chain[-1]
    named = [(name, False) for name in (known if route.channels is None else route.channels)]
    named += [(name, True) for name in route.escalate_to]
    recipients, skipped = [], []
    for name, escalates in named:
        if reason := _reason_to_skip(known.get(name), severity):
            skipped.append((name, reason))
        else:
            recipients.append(Recipient(known[name], route, escalates))
    return RouteTaken(chain, recipients, skipped)


def _reason_to_skip(channel: Channel | None, severity: str) -> str:
    if channel is None:
        return "there is no such channel"
    if not channel.enabled:
        return "turned off"
    if INCIDENTS not in channel.events:
        return "takes no incidents"
    if severity in Severity.values and Severity.values.index(severity) < Severity.values.index(
        channel.min_severity
    ):
        return f"takes {channel.min_severity} and above"
    return ""


def _merged(sources: Iterable[Mapping[str, object]]) -> dict[str, str]:
    """Join labels: of the same name the first that is not empty."""
    labels: dict[str, str] = {}
    for source in sources:
        for name, value in source.items():
            labels[name] = labels.get(name) or str(value)
    return labels
