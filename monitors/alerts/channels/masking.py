"""Targets as people may see them: the URL of a chat room, or the key of a pager, is a password to it."""

import re
from urllib.parse import urlsplit

_ACT = re.compile(r"(/p/[-\w]+/act/)[-\w.=]+")
_WEB = ("http://", "https://")
_PARTS = re.compile(r"[/@:?&=,]")
BOT_TOKEN_START = "xoxb-"
"""How the target of a Slack bot starts: its token, a colon and the room."""
MIN_MASKED = 12
"""Characters of which the last four may be shown; of fewer, four say too much."""


def mask_target(target: str) -> str:
    """Show the host of a URL and its last four characters, and of a key these alone.

    E-mail addresses are no secret, nor is what stands beside a key: a region, or a room.
    """
    if "://" not in target:
        return target if "@" in target else target.replace(_key_of(target), _mask(_key_of(target)))
    if not target.startswith(_WEB):  # of another service: keys may stand in the place of its host
        scheme, _, rest = target.partition("://")
        return f"{scheme}://{_mask(rest)}"
    parts = urlsplit(target)
    host = parts.netloc.rpartition("@")[2]
    path = target.partition(parts.netloc)[2].lstrip("/")
    return f"{parts.scheme}://{host}" + (f"/{_mask(path)}" if path else "")


def without_target(text: str, target: str) -> str:
    """Mask a target, and the secrets in it, where a text quotes them, as errors of connections do.

    What is shorter than any secret is left, as it may be a word.
    """
    if "://" in target and "@" not in target:
        text = text.replace(target, mask_target(target))
    for secret in _secrets_of(target):
        if len(secret) >= MIN_MASKED:
            text = text.replace(secret, _mask(secret))
    return text


def _secrets_of(target: str) -> list[str]:
    """List what of a target lets others send: the path of a URL, a key, or each part of the URL of a service."""
    if target.startswith(_WEB):
        return [target.partition("://")[2].partition("/")[2]]
    if "://" in target:
        return sorted(_PARTS.split(target.partition("://")[2]), key=len, reverse=True)
    return [] if "@" in target else [_key_of(target)]


def without_acts(text: str) -> str:
    """Mask the links in a message that act: only its receiver may use them, and more people read what was sent."""
    return _ACT.sub(r"\1…", text)


def _key_of(target: str) -> str:
    """Return the key in a target: the bot token before a room, which may be longer, or else the longest part, without
    the region before it."""
    if target.startswith(BOT_TOKEN_START):
        return target.rpartition(":")[0] or target
    return max(target.split(":"), key=len)


def _mask(secret: str) -> str:
    return "…" + (secret[-4:] if len(secret) >= MIN_MASKED else "")
