"""Discord's webhooks: one embed.

Input: the story of an incident, as a `Brief`.
Output: a message that mentions nobody, with the incident as its link.
"""

from typing import Any

from monitors.alerts.channels.brief import Brief, backslashed, escaped, fitted
from monitors.alerts.channels.json_post import ChatChannel

MAX_TITLE = 256
MAX_DESCRIPTION = 4_096
MAX_FIELDS = 25
MAX_FIELD = 1_024
MAX_BODY_BYTES = 5_800
"""Discord refuses embeds of more than 6,000 letters in all."""
_COLOURS = {"critical": 0xB42318, "warning": 0xD97706, "notice": 0x00598F, "resolved": 0x1B7F4B}


class DiscordChannel(ChatChannel):
    title = "Discord"
    target = "the URL of a webhook, https://discord.com/api/webhooks/…"

    def draw(self, brief: Brief) -> str:
        return fitted(brief, _message, max_bytes=MAX_BODY_BYTES)


def _message(brief: Brief) -> dict[str, Any]:
    url, links = brief.link[1], " · ".join(_link(*link) for link in (brief.link, *brief.more_links))
    room = MAX_DESCRIPTION - len(links) - 1
    facts = [_field(name, value, is_inline=len(value) < 40) for name, value in brief.facts]
    sections = [
        _field(heading, "\n".join(f"- {line}" for line in lines)) for heading, lines in brief.sections
    ]
    embed = {
        "title": escaped(brief.title, _escape, max_letters=MAX_TITLE),
        "url": url,
        "description": f"{escaped(brief.headline, _escape, max_letters=room)}\n{links}",
        "color": _COLOURS[brief.colour],
        "fields": [*facts, *sections][:MAX_FIELDS],
    }
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def _link(label: str, url: str) -> str:
    """Write a link; a bracket in its address would end it."""
    return f"[{label}]({url.replace('(', '%28').replace(')', '%29')})"


def _field(name: str, text: str, *, is_inline: bool = False) -> dict[str, Any]:
    lines = text.split("\n")
    room = MAX_FIELD // len(lines) - 1
    value = "\n".join(escaped(line, _escape, max_letters=room) for line in lines)
    return {"name": name[:MAX_TITLE], "value": value or "-", "inline": is_inline}


def _escape(text: str) -> str:
    return backslashed(text, r"\*_~`|>[]")
