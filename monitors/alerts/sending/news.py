"""The window that a message about an incident speaks of."""

from collections.abc import Mapping

from monitors.alerts.incidents.grouping import family_of
from monitors.alerts.models import Alert, Incident
from monitors.alerts.sending.notifying import reason_to_withhold
from monitors.rules.judging.current_breach import current_breach
from monitors.rules.models import Transition


def latest_news(incident: Incident, newest: Mapping[int, Transition] | None = None) -> tuple[Transition, str]:
    """Return the newest window beyond the limit of the most causal alert that is news; where none is, that of the most
    causal one, and why it is withheld. `newest` has the newest transitions of alerts, by their ids, where known.
    """
    firing = incident.alerts.filter(state=Alert.State.FIRING).select_related("rule__model", "model__project")
    found = []
    for alert in sorted(firing, key=lambda one: (one.pk != incident.lead_id, family_of(one.metric), one.pk)):
        window = current_breach((newest or {}).get(alert.pk) or alert.opening)
        found.append((window, reason_to_withhold(window)))
        if not found[-1][1]:
            return found[-1]
    return found[0]
