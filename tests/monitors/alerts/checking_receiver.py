"""Receivers that refuse what Slack, Teams, PagerDuty, Opsgenie, Discord and Alertmanager refuse, in their words.

The limits are those of their public documentation, in November 2026.
"""

import json
from collections.abc import Callable
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from threading import Event
from typing import Any

from tests.monitors.alerts.receiver import Answer, Receiver

BOT_TOKEN = "xoxb-2514-2847-Kq3JbZ0vT8mRwYd5NcXe"
ROOM, FIRST_TS = "C024BE91L", "1764338400.000100"
GOTIFY_TOKEN = "AkZ83vQ1wPzD.7x"
KEY = "e93facc04764012d7bfb002500d5d1a6"
OPSGENIE_KEY = "eb243592-faa2-4ba2-a551-1afdf565c889"

type Check = Callable[[Any, str, dict[str, str]], Answer]
"""Takes the JSON, the path and the headers of a request."""


class Refused(Exception):
    """A request that the real receiver would refuse, with its words."""


def require(condition: object, words: str) -> None:
    if not condition:
        raise Refused(words)


def strict(check: Check, receiver: Receiver, *, limit: int | None = None) -> None:
    """Have a receiver check each request, and answer 429 from the `limit`-th on until `limit` is lifted."""

    def answer(handler: BaseHTTPRequestHandler, stopped: Event) -> None:
        request = receiver.received[-1]
        if limit is not None and len(receiver.received) > limit:
            Answer(429, {"Retry-After": "30"}, b"rate_limited")(handler, stopped)
            return
        try:
            require(request.headers["content-type"] == "application/json", "invalid_content_type")
            given = check(json.loads(request.body), request.path, request.headers)
        except Refused as refusal:
            given = Answer(400, body=str(refusal).encode())
        given(handler, stopped)

    receiver.answers = [answer]


def slack(message: Any, path: str, headers: dict[str, str]) -> Answer:
    require(len(json.dumps(message, ensure_ascii=False)) <= 13_200, "msg_blocks_too_long")
    require(0 < len(message["text"]) <= 4_000, "no_text")
    require(1 <= len(message["blocks"]) <= 50, "invalid_blocks")
    for block in message["blocks"]:
        match block:
            case {"type": "header", "text": {"type": "plain_text", "text": text}}:
                require(1 <= len(text) <= 150, "invalid_blocks: header")
            case {"type": "section", "text": {"type": "mrkdwn", "text": text}}:
                require(1 <= len(text) <= 3_000, "invalid_blocks: section")
                require_escaped(text)
            case {"type": "section", "fields": fields}:
                require(1 <= len(fields) <= 10, "invalid_blocks: fields")
                for field in fields:
                    require(field["type"] == "mrkdwn", "invalid_blocks: type of a field")
                    require(1 <= len(field["text"]) <= 2_000, "invalid_blocks: field")
                    require_escaped(field["text"])
            case {"type": "actions", "elements": buttons}:
                require(1 <= len(buttons) <= 25, "invalid_blocks: elements")
                for button in buttons:
                    require(button["type"] == "button", "invalid_blocks: type of an element")
                    require(len(button["text"]["text"]) <= 75, "invalid_blocks: button")
                    require(button["url"].startswith("http"), "invalid_blocks: url")
                    require(len(button["url"]) <= 3_000, "invalid_blocks: url")
            case _:
                raise Refused(f"invalid_blocks: {block}")
    return Answer(200, body=b"ok")


def slack_bot(call: Any, path: str, headers: dict[str, str]) -> Answer:
    """Answer as Slack's Web API: what is wrong with a call is in the body of a 200."""
    try:
        require(headers["authorization"] == f"Bearer {BOT_TOKEN}", "invalid_auth")
        require(path in ("/chat.postMessage", "/chat.update"), "unknown_method")
        require(call["channel"] in ("#alerts", ROOM), "channel_not_found")
        if path == "/chat.update":
            require(call["channel"] == ROOM, "channel_not_found")  # it takes no names
            require(set(call) <= {"channel", "ts", "text", "blocks"}, "invalid_arguments")
            require(call["ts"] == FIRST_TS, "message_not_found")
        else:
            require(call.get("thread_ts", FIRST_TS) == FIRST_TS, "thread_not_found")
            require("ts" not in call, "invalid_arguments")
        slack(call, path, headers)
    except Refused as refusal:
        return Answer(body=json.dumps({"ok": False, "error": str(refusal)}).encode())
    begins = path == "/chat.update" or "thread_ts" not in call
    answer = {"ok": True, "message": call, "channel": ROOM, "ts": FIRST_TS if begins else f"{FIRST_TS}1"}
    return Answer(body=json.dumps(answer).encode())


def require_escaped(text: str) -> None:
    require("<" not in text, "a mention or link that nobody wrote")
    for part in text.split("&")[1:]:
        require(part.startswith(("amp;", "lt;", "gt;")), "half an escape")


def teams(message: Any, path: str, headers: dict[str, str]) -> Answer:
    require(len(json.dumps(message).encode()) <= 28 * 1024, "Request Entity Too Large")
    require(message["type"] == "message", "no message")
    [attachment] = message["attachments"]
    require(attachment["contentType"] == "application/vnd.microsoft.card.adaptive", "no card")
    card = attachment["content"]
    require((card["type"], card["version"]) == ("AdaptiveCard", "1.4"), "no card of version 1.4")
    for element in card["body"]:
        match element:
            case {"type": "TextBlock", "text": str(text), "wrap": True}:
                require(text, "an empty text")
            case {"type": "FactSet", "facts": facts}:
                require(all(fact["title"] and fact["value"] for fact in facts), "an empty fact")
            case _:
                raise Refused(f"unknown element {element}")
    require({action["type"] for action in card["actions"]} == {"Action.OpenUrl"}, "no link")
    require(len(card["actions"]) <= 6, "more buttons than a card shows")
    return Answer(202, {"Content-Length": "0"}, b"")


def pagerduty(event: Any, path: str, headers: dict[str, str]) -> Answer:
    require(len(json.dumps(event).encode()) <= 512 * 1024, "Event object is too large")
    require(event["routing_key"] == KEY, "Invalid routing key")
    if path == "/v2/change/enqueue":
        return pagerduty_change(event)
    require(path == "/v2/enqueue", "Not Found")
    require(event["event_action"] in ("trigger", "acknowledge", "resolve"), "event_action is invalid")
    require(1 <= len(event["dedup_key"]) <= 255, "dedup_key is too long")
    payload = event["payload"]
    require(1 <= len(payload["summary"]) <= 1_024, "summary is too long")
    require(payload["source"], "source is missing")
    require(payload["severity"] in ("critical", "error", "warning", "info"), "severity is invalid")
    datetime.fromisoformat(payload["timestamp"])
    body = json.dumps({"status": "success", "message": "Event processed", "dedup_key": event["dedup_key"]})
    return Answer(202, body=body.encode())


def pagerduty_change(event: Any) -> Answer:
    require(set(event) <= {"routing_key", "payload", "links", "images"}, "unknown field")
    require(set(event["payload"]) <= {"summary", "source", "timestamp", "custom_details"}, "unknown field")
    require(1 <= len(event["payload"]["summary"]) <= 1_024, "summary is too long")
    datetime.fromisoformat(event["payload"]["timestamp"])
    require(all(link["href"].startswith("http") for link in event["links"]), "href is no URL")
    return Answer(202, body=b'{"status":"success","message":"Change event processed"}')


def opsgenie(alert: Any, path: str, headers: dict[str, str]) -> Answer:
    require(headers["authorization"] == f"GenieKey {OPSGENIE_KEY}", "Key format is not valid!")
    if path == "/v2/alerts":
        require(1 <= len(alert["message"]) <= 130, "message is too long")
        require(1 <= len(alert["alias"]) <= 512, "alias is too long")
        require(len(alert.get("description", "")) <= 15_000, "description is too long")
        require(alert["priority"] in {f"P{number}" for number in range(1, 6)}, "priority is invalid")
        require(len(alert.get("tags", [])) <= 20, "too many tags")
        require(all(len(tag) <= 50 for tag in alert.get("tags", [])), "a tag is too long")
        require(len(alert.get("entity", "")) <= 512, "entity is too long")
        require(
            sum(len(n) + len(v) for n, v in alert.get("details", {}).items()) <= 8_000, "details are too long"
        )
    else:
        require(
            path.endswith(("/close?identifierType=alias", "/acknowledge?identifierType=alias")), "Not Found"
        )
        require(len(alert["note"]) <= 25_000, "note is too long")
    return Answer(202, body=b'{"result":"Request will be processed","took":0.1,"requestId":"43a29c5c"}')


def discord(message: Any, path: str, headers: dict[str, str]) -> Answer:
    require(1 <= len(message["embeds"]) <= 10, "embeds: too many")
    require(message["allowed_mentions"] == {"parse": []}, "it may mention everyone")
    letters = 0
    for embed in message["embeds"]:
        fields = embed["fields"]
        require(1 <= len(embed["title"]) <= 256, "title: too long")
        require(1 <= len(embed["description"]) <= 4_096, "description: too long")
        require(0 <= embed["color"] <= 0xFFFFFF, "color: invalid")
        require(len(fields) <= 25, "fields: too many")
        for field in fields:
            require(1 <= len(field["name"]) <= 256, "name: too long")
            require(1 <= len(field["value"]) <= 1_024, "value: too long")
        texts = [embed["title"], embed["description"], *(f["name"] + f["value"] for f in fields)]
        letters += sum(map(len, texts))
    require(letters <= 6_000, "Embed size exceeds maximum size of 6000")
    return Answer(204, {"Content-Length": "0"}, b"")


def alertmanager(alerts: Any, path: str, headers: dict[str, str]) -> Answer:
    require(path == "/api/v2/alerts", "path not found")
    require(alerts, "no alert")
    for alert in alerts:
        require(alert["labels"].get("alertname"), "at least one label pair required")
        for name, value in {**alert["labels"], **alert["annotations"]}.items():
            require(name.isidentifier(), f"invalid label name {name}")
            require(isinstance(value, str), f"{name} is no text")
        require(all(alert["labels"].values()), "an empty label")
        start, end = (datetime.fromisoformat(alert[name]) for name in ("startsAt", "endsAt"))
        require(start <= end, "start time must be before end time")
        require(alert["generatorURL"].startswith("http"), "generatorURL is no URL")
    return Answer(200, {"Content-Length": "0"}, b"")


def gotify(message: Any, path: str, headers: dict[str, str]) -> Answer:
    require(path == "/message", "page not found")
    require(headers["x-gotify-key"] == GOTIFY_TOKEN, "you need to provide a valid access token")
    require(message["title"] and message["message"], "Field 'message' is required")
    return Answer(body=b'{"id":1,"appid":1}')


CHECKS: dict[str, Check] = {
    "slack": slack,
    "slack bot": slack_bot,
    "teams": teams,
    "pagerduty": pagerduty,
    "opsgenie": opsgenie,
    "discord": discord,
    "alertmanager": alertmanager,
    "apprise": gotify,
}
