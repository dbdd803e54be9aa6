"""Several incidents that one message is about, in the words that every channel shares."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from driftline.base.accounts.models import Project
from monitors.alerts.models import Delivery, Incident
from monitors.alerts.story import OPENED, REMINDER, RESOLVED, UPDATED, incident_url
from monitors.alerts.wording import one_line
from monitors.rules.models import Severity

_WORDS = {
    OPENED: "opened",
    UPDATED: "changed",
    REMINDER: "not acknowledged",
    RESOLVED: "ended",
}
"""What happened to an incident, in the order in which a message counts."""


@dataclass(frozen=True)
class IncidentGroup:
    """Incidents with what happened to each, the worst first; `labels` says in words what they share."""

    project: Project
    labels: str
    entries: Sequence[tuple[Incident, str]]

    @classmethod
    def of(cls, project: Project, labels: str, deliveries: Sequence[Delivery]) -> Self:
        """Gather the newest of the waiting messages about each incident.

        One that opened and changed since has opened for who reads of it first here.
        """
        opened = {delivery.incident_id for delivery in deliveries if delivery.event == OPENED}
        newest = {delivery.incident_id: delivery for delivery in deliveries}.values()
        entries = [
            (delivery.incident, _word(delivery.event, is_new=delivery.incident_id in opened))
            for delivery in newest
            if delivery.incident is not None
        ]
        return cls(project, labels, sorted(entries, key=_order))

    @property
    def severity(self) -> str:
        """The worst severity of those that go on; of all where none does."""
        going_on = [incident for incident, word in self.entries if word != _WORDS[RESOLVED]]
        incidents = going_on or [incident for incident, _ in self.entries]
        return max((incident.severity for incident in incidents), key=Severity.values.index)

    @property
    def is_over(self) -> bool:
        """Whether all of them ended."""
        return all(word == _WORDS[RESOLVED] for _, word in self.entries)

    @property
    def title(self) -> str:
        """How many incidents, and what happened to them: `7 incidents: 5 opened, 2 ended`."""
        counts = Counter(word for _, word in self.entries)
        parts = [f"{counts[word]} {word}" for word in _WORDS.values() if counts[word]]
        return f"{len(self.entries)} incidents: {', '.join(parts)}"

    @property
    def headline(self) -> str:
        """The title with what the incidents share."""
        return f"{self.title}. They share {self.labels}." if self.labels else f"{self.title}."

    @property
    def lines(self) -> list[str]:
        """A line an incident, with its address."""
        return [
            f"INC-{incident.pk} {word}, {incident.severity}: {one_line(incident.title)} ({incident_url(incident)})"
            for incident, word in self.entries
        ]

    @property
    def link(self) -> tuple[str, str]:
        """The label and the address of the list of incidents."""
        return "Open the incidents", f"{self.project.url}/incidents"


def _word(event: str, *, is_new: bool) -> str:
    return _WORDS[OPENED] if is_new and event != RESOLVED else _WORDS.get(event, _WORDS[UPDATED])


def _order(entry: tuple[Incident, str]) -> tuple[bool, int, int]:
    """Order what goes on before what ended, then the worst first."""
    incident, word = entry
    return word == _WORDS[RESOLVED], -Severity.values.index(incident.severity), incident.pk
