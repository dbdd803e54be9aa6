"""An event of an incident in the few parts that chat messages have; each kind of chat draws them in its own way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from monitors.alerts.joint_messages.incident_group import IncidentGroup
from monitors.alerts.models import Channel
from monitors.alerts.sending.notice import Notice
from monitors.alerts.story import (
    ACKNOWLEDGED,
    MAX_HEADLINE,
    MAX_LINE,
    REMINDER,
    RESOLVED,
    RUNBOOK,
    UPDATED,
    Story,
    channels_url,
    shortened_lines,
)
from monitors.alerts.wording import moment, one_line, shortened

_WORD = {UPDATED: "Still firing", REMINDER: "Reminder", ACKNOWLEDGED: "Acknowledged", RESOLVED: "Resolved"}


@dataclass(frozen=True)
class Brief:
    """What a message says, in reading order; `colour` is `critical`, `warning`, `notice` or `resolved`.

    `link` opens what it is about, and `more_links` are the runbook and those that act, the most urgent first.
    """

    title: str
    headline: str
    colour: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[tuple[str, Sequence[str]]]
    link: tuple[str, str]
    more_links: Sequence[tuple[str, str]] = ()

    def shorter(self) -> "Brief":
        """Leave out the last line of the longest section, or the last fact where there is no section."""
        if not self.sections:
            return replace(self, facts=self.facts[:-1])
        longest = max(self.sections, key=lambda section: len(section[1]))
        sections = [(name, lines[:-1] if name == longest[0] else lines) for name, lines in self.sections]
        return replace(self, sections=[section for section in sections if section[1]])


def brief_of(story: Story, channel: Channel) -> Brief:
    """Shorten a story to what fits into a chat message."""
    runbook = [(RUNBOOK, story.rule.runbook)] if story.rule.runbook else []
    severity = _WORD.get(story.event, story.incident.severity.capitalize())
    return Brief(
        title=f"{severity}: {one_line(story.incident.title)}",
        headline=shortened(story.headline, MAX_HEADLINE),
        colour="resolved" if story.event == RESOLVED else story.incident.severity,
        facts=[(name, shortened(value, MAX_LINE)) for name, value in story.facts if name != RUNBOOK],
        sections=story.sections,
        link=(f"Open INC-{story.incident.pk}", story.url),
        more_links=[*runbook, *story.links(channel).values()],
    )


def brief_of_group(group: IncidentGroup) -> Brief:
    """Return what happened to several incidents, the worst first."""
    return Brief(
        title=group.title,
        headline=shortened(group.headline, MAX_HEADLINE),
        colour="resolved" if group.is_over else group.severity,
        facts=[("Project", group.project.name)],
        sections=[("Incidents", shortened_lines(group.lines))],
        link=group.link,
    )


def brief_of_notice(notice: Notice) -> Brief:
    """Return what happened that is no incident."""
    return Brief(
        title=notice.title,
        headline=shortened(notice.text, MAX_HEADLINE),
        colour=notice.severity,
        facts=[("Project", notice.project.name), *notice.facts],
        sections=[],
        link=notice.link,
        more_links=list(notice.questions.values()),
    )


def brief_of_test(channel: Channel, *, at: datetime) -> Brief:
    """Return the brief that a channel works."""
    return Brief(
        title="Test of Driftline",
        headline=f"This is a test of the channel {channel.name}; if you read it, alerts will reach you.",
        colour="notice",
        facts=[("Project", channel.project.name), ("Sent", moment(at))],
        sections=[],
        link=("Open the channels", channels_url(channel)),
    )


def fitted(brief: Brief, draw: Callable[[Brief], dict[str, Any]], *, max_bytes: int) -> str:
    """Draw a brief as JSON of at most `max_bytes`, without as many lines as it takes; the link always stays."""
    body = orjson.dumps(draw(brief))
    while len(body) > max_bytes and (brief.sections or brief.facts):
        brief = brief.shorter()
        body = orjson.dumps(draw(brief))
    return body.decode()


def escaped(text: str, escape: Callable[[str], str], *, max_letters: int) -> str:
    """Escape a text and cut it so that at most `max_letters` come out, none of them half an escape."""
    room = max_letters
    while len(found := escape(shortened(text, room))) > max_letters:
        room = max(room * 3 // 4, 1)
    return found


def backslashed(text: str, special: str) -> str:
    """Put a backslash before each special letter of Markdown, so that no name of a feature becomes a link or bold."""
    return "".join(f"\\{letter}" if letter in special else letter for letter in text)
