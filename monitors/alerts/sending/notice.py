"""An event of the feed as channels word it, such as a run that waits or a channel that was disabled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from driftline.base.accounts.models import Project
from monitors.alerts.wording import shortened
from monitors.feed.kinds import KINDS, RUN_WAITING, URGENT
from monitors.feed.models import FeedEvent
from monitors.rules.models import Severity

MAX_FACT = 500
_LABELS = {"run": "Open the run", "channel": "Open the channels", "reference": "Open the reference"}


@dataclass(frozen=True)
class Notice:
    """What a message about an event says; `facts` are names and values in reading order."""

    event: str
    event_id: str
    at: datetime
    project: Project
    model: str | None
    text: str
    facts: Sequence[tuple[str, str]]
    data: Mapping[str, Any]
    url: str

    @classmethod
    def of(cls, event: FeedEvent) -> Self:
        return cls(
            event=event.kind,
            event_id=event.event_id,
            at=event.at,
            project=event.project,
            model=event.model.name if event.model else None,
            text=event.text,
            facts=[(name, shortened(value, MAX_FACT)) for name, value in event.facts],
            data=event.data,
            url=event.url,
        )

    @property
    def subject(self) -> str:
        """What it is about: run, deployment, version, reference or channel."""
        return self.event.partition(".")[0]

    @property
    def title(self) -> str:
        """What kind of event it is, in words."""
        return KINDS.get(self.event, self.event)

    @property
    def severity(self) -> str:
        """How much it matters, by the words of rules."""
        return Severity.WARNING if self.event in URGENT else Severity.NOTICE

    @property
    def source(self) -> str:
        """Where it happened: the project, with the model where it is of one."""
        return f"{self.project.slug}/{self.model}" if self.model else self.project.slug

    @property
    def questions(self) -> dict[str, tuple[str, str]]:
        """The answers that a run waits for, each with its words and the page that asks before it is given.

        The page needs a person with the role, as the answer changes what is served: so the address itself is no secret,
        and it asks nothing any more once the run was answered.
        """
        if self.event != RUN_WAITING:
            return {}
        return {
            answer: (f"{answer.capitalize()}…", f"{self.url}?confirm={answer}")
            for answer in ("approve", "reject")
        }

    @property
    def link(self) -> tuple[str, str]:
        """The label and the address of its page."""
        return _LABELS.get(self.subject, "Open the model"), self.url
