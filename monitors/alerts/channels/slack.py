"""Slack: Block Kit, within its limits. Mattermost and Rocket.Chat take the same from an incoming webhook.

Input: the story of an incident, as a `Brief`.
Output: a message with buttons that open the incident and act on it. To an incoming webhook each is a message of its
own; with a bot token `slack_bot.py` keeps one message an incident.
"""

from typing import Any

from monitors.alerts.channels import slack_bot
from monitors.alerts.channels.base import Receipt
from monitors.alerts.channels.brief import Brief, escaped, fitted
from monitors.alerts.channels.json_post import ChatChannel
from monitors.alerts.channels.masking import BOT_TOKEN_START
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.wording import shortened

MAX_HEADER = 150
MAX_SECTION = 3_000
MAX_BUTTON = 75
MAX_FIELDS = 10
MAX_FIELD = 2_000
MAX_BODY_BYTES = 12_000
"""Slack refuses messages of more than about 13,200 letters, whatever the limits of their parts are."""


class SlackChannel(ChatChannel):
    title = "Slack"
    target = (
        "the URL of an incoming webhook, https://hooks.slack.com/services/…, or a bot token and a channel, "
        "xoxb-…:#alerts, for one message an incident that is edited as it changes"
    )

    def check_target(self, target: str) -> None:
        if target.startswith(BOT_TOKEN_START):
            slack_bot.check_target(target)
        else:
            super().check_target(target)

    def takes_groups(self, channel: Channel) -> bool:
        return not channel.target.startswith(BOT_TOKEN_START)

    def send(self, delivery: Delivery) -> Receipt:
        if delivery.channel.target.startswith(BOT_TOKEN_START):
            return slack_bot.send(delivery)
        return super().send(delivery)

    def draw(self, brief: Brief) -> str:
        return fitted(brief, _message, max_bytes=MAX_BODY_BYTES)


def _message(brief: Brief) -> dict[str, Any]:
    url = brief.link[1]
    blocks: list[dict[str, Any]] = [
        {
            "type": "header",
            "text": {"type": "plain_text", "text": shortened(brief.title, MAX_HEADER), "emoji": False},
        },
        {"type": "section", "text": _mrkdwn(brief.headline, MAX_SECTION)},
    ]
    if brief.facts:
        fields = [_mrkdwn(value, MAX_FIELD - 250, f"*{_escape(name)}*\n") for name, value in brief.facts]
        blocks.append({"type": "section", "fields": fields[:MAX_FIELDS]})
    for heading, lines in brief.sections:
        room = (MAX_SECTION - len(heading) - 10) // len(lines) - 3
        items = "\n".join(f"• {escaped(line, _escape, max_letters=room)}" for line in lines)
        blocks.append(
            {"type": "section", "text": {"type": "mrkdwn", "text": f"*{_escape(heading)}*\n{items}"}}
        )
    blocks.append(
        {"type": "actions", "elements": [_button(*link) for link in (brief.link, *brief.more_links)]}
    )
    return {
        "text": escaped(f"{brief.title} {url}", _escape, max_letters=MAX_SECTION),
        "blocks": blocks,
        "unfurl_links": False,
    }


def _button(label: str, url: str) -> dict[str, Any]:
    text = {"type": "plain_text", "text": shortened(label, MAX_BUTTON), "emoji": False}
    return {"type": "button", "text": text, "url": url}


def _mrkdwn(text: str, max_letters: int, before: str = "") -> dict[str, str]:
    return {"type": "mrkdwn", "text": before + escaped(text, _escape, max_letters=max_letters)}


def _escape(text: str) -> str:
    """Escape what Slack reads as a link or a mention, such as `<!channel>`."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
