"""The runs that incidents started or are about: alerts and workflows do not know each other, so both meet here."""

from collections.abc import Sequence

from django.db.models import Q

from monitors.alerts.models import Alert, Incident
from monitors.workflows.models import Run


def runs_of_each(incidents: Sequence[Incident]) -> dict[int, list[Run]]:
    """List the runs that the alerts of each incident started, or that opened it, oldest first, by the incident's id."""
    found: dict[int, list[Run]] = {incident.pk: [] for incident in incidents}
    alerts = [alert for incident in incidents for alert in incident.alerts.all()]
    if not alerts:
        return found
    started = Q(
        transition__rule__in={alert.rule_id for alert in alerts},
        transition__window_end__gte=min(alert.window_end for alert in alerts),
    )
    runs = Run.objects.filter(started | Q(pk__in={alert.run_id for alert in alerts} - {None}))
    for run in runs.select_related("model", "champion", "challenger", "transition", "rollout").order_by("pk"):
        for incident in incidents:
            if any(alert.run_id == run.pk or _has_started(alert, run) for alert in incident.alerts.all()):
                found[incident.pk].append(run)
    return found


def _has_started(alert: Alert, run: Run) -> bool:
    transition = run.transition
    return (
        transition is not None
        and transition.rule_id == alert.rule_id
        and alert.window_end <= transition.window_end
        and (alert.resolved_at is None or transition.window_end <= alert.resolved_at)
    )
