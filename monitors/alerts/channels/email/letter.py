"""The words of an alert e-mail: the text part carries everything, the HTML part the same in one column."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.template import Context, Engine

from driftline.base.number_format import format_number
from driftline.base.periods import in_a_row
from monitors.alerts.channels.base import Message
from monitors.alerts.joint_messages.incident_group import IncidentGroup
from monitors.alerts.models import Channel
from monitors.alerts.sending.notice import Notice
from monitors.alerts.story import REMINDER, RESOLVED, UPDATED, Story, channels_url
from monitors.alerts.wording import fitted, measured, moment, one_line, sentence_of_run, shortened

SUBJECT_LENGTH = 77
MAX_INCIDENTS = 100
_TEMPLATES = Engine(dirs=[str(Path(__file__).parent)])


@dataclass(frozen=True)
class Section:
    heading: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Letter:
    """What both parts of an e-mail say, in reading order."""

    headline: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    link: tuple[str, str]
    footer: str
    acts: Sequence[tuple[str, str]] = ()

    def as_text(self) -> str:
        blocks = [self.headline]
        if self.facts:
            blocks.append("\n".join(f"{name}: {one_line(value)}" for name, value in self.facts))
        for section in self.sections:
            blocks.append("\n".join([section.heading, *(f"- {one_line(line)}" for line in section.lines)]))
        blocks.append("{}: {}".format(*self.link))
        if self.acts:
            blocks.append(
                "\n".join(["Each of these asks before it acts:", *map("- {0[0]}: {0[1]}".format, self.acts)])
            )
        blocks.append(f"-- \n{self.footer}")
        return "\n\n".join(blocks) + "\n"

    def as_html(self) -> str:
        return str(_TEMPLATES.get_template("letter.html").render(Context({"letter": self})))


def compose(story: Story, channel: Channel) -> Message:
    when = " when it opened" if story.event == RESOLVED else ""
    letter = Letter(
        headline=story.headline,
        facts=story.facts,
        sections=[
            Section(heading, lines)
            for heading, lines in (
                (f"Broken data{when}", story.fault_lines),
                (f"Likely causes{when} (not proven)", story.cause_lines),
                ("Alerts", story.alert_lines),
                ("What Driftline is doing", story.ongoing),
                ("What changed lately", story.changes),
            )
            if lines
        ],
        link=("Open the incident", story.url),
        acts=list(story.links(channel).values()),
        footer=_why(story, channel),
    )
    return Message(_subject(story), letter.as_text(), letter.as_html())


def compose_group(group: IncidentGroup, channel: Channel) -> Message:
    more = len(group.lines) - MAX_INCIDENTS
    lines = [*group.lines[:MAX_INCIDENTS], *([f"and {more:,} more"] if more > 0 else [])]
    letter = Letter(
        headline=group.headline,
        facts=[("Project", group.project.name)],
        sections=[Section("Incidents", lines)],
        link=group.link,
        footer=one_line(
            f"You get this because a route of project {group.project.name} groups the incidents that it sends to the "
            f"channel {channel.name}. To change that, see {group.project.url}/settings/routing"
        ),
    )
    start = f"[{group.severity}] "
    return Message(
        start + shortened(group.title, SUBJECT_LENGTH - len(start), "..."), letter.as_text(), letter.as_html()
    )


def compose_notice(notice: Notice, channel: Channel) -> Message:
    letter = Letter(
        headline=notice.text,
        facts=[("Project", notice.project.name), *notice.facts, ("At", moment(notice.at))],
        sections=[],
        link=notice.link,
        acts=list(notice.questions.values()),
        footer=one_line(
            f"You get this because the channel {channel.name} takes events {notice.event} of project "
            f"{channel.project.name}. To stop it, change the channel at {channels_url(channel)}"
        ),
    )
    subject = f"[{notice.subject}] {shortened(notice.text, SUBJECT_LENGTH - len(notice.subject) - 3, '...')}"
    return Message(subject, letter.as_text(), letter.as_html())


def compose_test(channel: Channel, *, at: datetime) -> Message:
    letter = Letter(
        headline=f"This is a test of the channel {channel.name}; if you read it, alerts will reach you.",
        facts=[("Project", channel.project.name), ("Sent", moment(at))],
        sections=[],
        link=("Open Driftline", f"{channel.project.url}/"),
        footer=f"Somebody pressed Send test in Driftline. Channels are kept at {channels_url(channel)}",
    )
    return Message("[test] Driftline can reach you", letter.as_text(), letter.as_html())


def _subject(story: Story) -> str:
    """Severity, problem and number in less than 78 characters, shortening only the problem's text."""
    start = f"[{story.incident.severity}] "
    end = f" ({_word(story)}, INC-{story.incident.pk})"
    room = SUBJECT_LENGTH - len(start) - len(end)
    return start + fitted(story.incident.title, story.incident.rule.metric, room) + end


def _word(story: Story) -> str:
    """Return what happened to the incident."""
    if story.event == RESOLVED:
        return "closed" if story.incident.closed_by else "resolved"
    return {UPDATED: "updated", REMINDER: "reminder"}.get(story.event, "opened")


def _why(story: Story, channel: Channel) -> str:
    end = f"To stop it, change the channel at {channels_url(channel)}"
    takes = (
        f"the channel {channel.name} takes incidents of project {channel.project.name} from severity "
        f"{channel.min_severity} up. {end}"
    )
    if sentence_of_run(story.incident.opening):
        return one_line(f"You get this because a challenger was rolled back, and {takes}")
    rule = story.rule
    windows = rule.asked_windows if rule.of_windows else in_a_row(rule.needed_windows, rule.judged_span)
    return one_line(
        f"You get this because the rule {rule.name} ({measured(story.transition)} {rule.operator} "
        f"{format_number(rule.threshold)} for {windows}) fired, and {takes}"
    )
