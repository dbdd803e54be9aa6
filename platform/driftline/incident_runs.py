"""The runs that incidents started: alerts and workflows do not know each other, so the roof joins them."""

from collections.abc import Sequence

from monitors.alerts.models import Incident
from monitors.workflows.models import Run


def runs_of_each(incidents: Sequence[Incident]) -> dict[int, list[Run]]:
    """List the runs that each incident's episode of its rule started, oldest first, by the incident's id."""
    found: dict[int, list[Run]] = {incident.pk: [] for incident in incidents}
    if not incidents:
        return found
    runs = Run.objects.filter(
        transition__rule__in={incident.rule_id for incident in incidents},
        transition__window_end__gte=min(incident.opened_at for incident in incidents),
    )
    for run in runs.select_related("model", "champion", "challenger", "transition").order_by("pk"):
        for incident in incidents:
            if _has_started(incident, run):
                found[incident.pk].append(run)
    return found


def _has_started(incident: Incident, run: Run) -> bool:
    transition = run.transition
    return (
        transition is not None
        and transition.rule_id == incident.rule_id
        and incident.opened_at <= transition.window_end
        and (incident.resolved_at is None or transition.window_end <= incident.resolved_at)
    )
