"""The runs that incidents started: alerts and workflows do not know each other, so they are joined here."""

from collections.abc import Sequence

from monitors.alerts.models import Alert, Incident
from monitors.workflows.models import Run


def runs_of_each(incidents: Sequence[Incident]) -> dict[int, list[Run]]:
    """List the runs that the alerts of each incident started, oldest first, by the incident's id."""
    found: dict[int, list[Run]] = {incident.pk: [] for incident in incidents}
    if not incidents:
        return found
    runs = Run.objects.filter(
        transition__rule__in={alert.rule_id for incident in incidents for alert in incident.alerts.all()},
        transition__window_end__gte=min(
            alert.window_end for incident in incidents for alert in incident.alerts.all()
        ),
    )
    for run in runs.select_related("model", "champion", "challenger", "transition").order_by("pk"):
        for incident in incidents:
            if any(_has_started(alert, run) for alert in incident.alerts.all()):
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
