"""Microsoft Teams: an adaptive card to the webhook of a workflow.

Input: the story of an incident, as a `Brief`.
Output: a card with a button that opens the incident. Teams may answer 200 with the text of an error:
that is a failure.
"""

import re
from datetime import timedelta
from typing import Any

from monitors.alerts.channels.base import DeliveryFailed, Receipt
from monitors.alerts.channels.brief import Brief, backslashed, fitted
from monitors.alerts.channels.json_post import ChatChannel
from monitors.alerts.models import Delivery

MAX_BODY_BYTES = 25_000
"""Teams refuses cards of more than about 28 KB."""
MAX_BUTTONS = 6
"""Buttons that a card shows; Teams hides the others."""
PAUSE_OF_LIMIT = timedelta(minutes=1)
"""How long to wait after an error text that names the rate limit, as it says no time."""
_COLOURS = {"critical": "Attention", "warning": "Warning", "resolved": "Good"}
_FAULT = re.compile(r"\b(error|failed|failure|exception)\b", re.IGNORECASE)


class TeamsChannel(ChatChannel):
    title = "Microsoft Teams"
    target = "the URL of a workflow's webhook, https://….logic.azure.com/…"

    def send(self, delivery: Delivery) -> Receipt:
        receipt = super().send(delivery)
        if _FAULT.search(receipt.answer):
            limited = timedelta() if "429" not in receipt.answer else PAUSE_OF_LIMIT
            raise DeliveryFailed(
                f"Teams answered {receipt.status} with an error: {receipt.answer}",
                status=receipt.status,
                retry_after=limited or None,
            )
        return receipt

    def draw(self, brief: Brief) -> str:
        return fitted(brief, _message, max_bytes=MAX_BODY_BYTES)


def _message(brief: Brief) -> dict[str, Any]:
    links = [brief.link, *brief.more_links][:MAX_BUTTONS]
    title = _text(brief.title, weight="Bolder", size="Medium", color=_COLOURS.get(brief.colour, "Default"))
    body: list[dict[str, Any]] = [title, _text(brief.headline)]
    if brief.facts:
        facts = [{"title": name, "value": _escape(value)} for name, value in brief.facts]
        body.append({"type": "FactSet", "facts": facts})
    for heading, lines in brief.sections:
        body.append(_text(heading, weight="Bolder", spacing="Medium"))
        body += [_text(line, spacing="Small") for line in lines]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "actions": [{"type": "Action.OpenUrl", "title": label, "url": url} for label, url in links],
        "msteams": {"width": "Full"},
    }
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def _text(text: str, **look: str) -> dict[str, Any]:
    return {"type": "TextBlock", "text": _escape(text), "wrap": True, **look}


def _escape(text: str) -> str:
    return backslashed(text, r"\*_[]`")
