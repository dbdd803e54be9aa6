"""Many other services, each by a plugin of Apprise: a title and a plain text to whatever an Apprise URL names.

Input: the story of an incident, as a `Brief`.
Output: the requests that the plugin makes; `apprise_requests.py` has them keep to the rules of every message.

Only services are offered that are spoken to by HTTP: plugins with other transports could not be held to these rules.
Apprise is imported where it is used, because it loads a hundred services with it.
"""

import sys
from functools import partial
from typing import TYPE_CHECKING

import orjson

from driftline.base.errors import invalid
from driftline.base.extras import APPRISE, describe_missing, is_installed, require
from driftline.base.outbound.targets import check_target
from driftline.base.outbound.transport import Line
from monitors.alerts.channels.apprise_requests import first_url, guard, recorded
from monitors.alerts.channels.base import DeliveryFailed, Receipt
from monitors.alerts.channels.brief import Brief
from monitors.alerts.channels.json_post import REFUSED, ChatChannel
from monitors.alerts.channels.webhook.transport import within_deadline
from monitors.alerts.models import Delivery

if TYPE_CHECKING:
    from apprise import NotifyBase

SERVICES = {
    "bark": "Bark", "barks": "Bark", "betterstack": "Better Stack", "clicksend": "ClickSend", "dingtalk": "DingTalk",
    "feishu": "Feishu", "firehydrant": "FireHydrant", "flock": "Flock", "gchat": "Google Chat", "goalert": "GoAlert",
    "goalerts": "GoAlert", "gotify": "Gotify", "gotifys": "Gotify", "ifttt": "IFTTT", "ilert": "ilert",
    "incidentio": "incident.io", "lark": "Lark", "line": "LINE", "mailgun": "Mailgun", "mmost": "Mattermost",
    "mmosts": "Mattermost", "msgbird": "MessageBird", "nctalk": "Nextcloud Talk", "nctalks": "Nextcloud Talk",
    "ntfy": "ntfy", "ntfys": "ntfy", "pagertree": "PagerTree", "pbul": "Pushbullet", "pover": "Pushover",
    "prowl": "Prowl", "rocket": "Rocket.Chat", "rockets": "Rocket.Chat", "sendgrid": "SendGrid", "signal": "Signal",
    "signals": "Signal", "signl4": "SIGNL4", "spike": "Spike", "splunk": "Splunk On-Call", "squadcast": "Squadcast",
    "tgram": "Telegram", "twilio": "Twilio", "twist": "Twist", "vonage": "Vonage", "webex": "Webex",
    "wecombot": "WeCom", "whatsapp": "WhatsApp", "wxteams": "Webex", "xmatters": "xMatters", "zulip": "Zulip",
}  # fmt: skip
"""The schemes of the URLs that are taken, each with the service's name."""
MAX_TEXT = 3_000
MAX_TARGET = 500


class AppriseChannel(ChatChannel):
    title = "Other services, by Apprise"
    target = (
        "an Apprise URL, such as tgram://…, ntfys://…, gotifys://…, mmosts://… or zulip://…, of one of "
        + ", ".join(sorted(set(SERVICES.values()), key=str.lower))
    )

    def check_target(self, target: str) -> None:
        """Refuse what is no URL of a service that is offered or may be called, with a `Problem` on /target."""
        scheme = target.partition("://")[0].lower()
        if scheme not in SERVICES or len(target) > MAX_TARGET or not target.isprintable() or " " in target:
            raise invalid("/target", f"{scheme[:20]!r} is not offered; use {self.target}.")
        require(APPRISE)
        if (plugin := _plugin(target)) is None:
            raise invalid(
                "/target",
                f"This is no Apprise URL of {SERVICES[scheme]}; see https://appriseit.com/services/ for how it is "
                "written.",
            )
        if (url := first_url(partial(plugin.notify, body="test", title="test"))) is not None:
            check_target(url, "/target")

    def draw(self, brief: Brief) -> str:
        return orjson.dumps({"title": brief.title, "text": _text(brief)}).decode()

    def send(self, delivery: Delivery) -> Receipt:
        if not is_installed(APPRISE):
            raise DeliveryFailed(describe_missing(APPRISE))
        message = orjson.loads(delivery.body)
        return within_deadline(partial(_notify, delivery.channel.target, message["title"], message["text"]))


def _text(brief: Brief) -> str:
    """Write a message in the order of what is needed first, as services cut long ones."""
    lines = [brief.headline, "{}: {}".format(*brief.link), *map("{0[0]}: {0[1]}".format, brief.facts)]
    for heading, items in brief.sections:
        lines += ["", heading, *(f"- {item}" for item in items)]
    if brief.more_links:
        lines += ["", *map("{0[0]}: {0[1]}".format, brief.more_links)]
    kept: list[str] = []
    for line in lines:
        if sum(map(len, kept)) + len(kept) + len(line) > MAX_TEXT:
            break
        kept.append(line)
    return "\n".join(kept).rstrip()


def _notify(url: str, title: str, text: str, line: Line) -> Receipt:
    from apprise import NotifyFormat

    plugin = _plugin(url)
    if plugin is None:
        raise DeliveryFailed(
            "Apprise does not read the channel's URL any more; write it anew.", permanent=True
        )
    with recorded(line) as calls:
        is_taken = plugin.notify(body=text, title=title, notify_type="info", body_format=NotifyFormat.TEXT)
    if is_taken and calls.receipt is not None:
        return calls.receipt
    failure = calls.failure or DeliveryFailed(f"{plugin.service_name} took no message.")
    failure.permanent = failure.permanent or failure.status in REFUSED
    raise failure


def _plugin(url: str) -> "NotifyBase | None":
    """Make the plugin of a URL with its requests guarded; None where Apprise cannot read the URL."""
    from apprise import Apprise, AppriseAsset, PersistentStoreMode

    asset = AppriseAsset(
        storage_mode=PersistentStoreMode.MEMORY, app_id="Driftline", app_desc="Driftline", app_url=""
    )
    plugin = Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if plugin is None or isinstance(plugin, dict):
        return None
    for one in type(plugin).__mro__:  # a plugin may send by a method of the plugin that it is made from
        guard(sys.modules[one.__module__])
    return plugin
