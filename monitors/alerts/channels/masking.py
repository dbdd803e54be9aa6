"""Targets as people may see them: the URL of a chat room, or the key of a pager, is a password to it."""

import re
from urllib.parse import urlsplit

_ACT = re.compile(r"(/p/[-\w]+/act/)[-\w.=]+")
MIN_MASKED = 12
"""Characters of which the last four may be shown; of fewer, four say too much."""


def mask_target(target: str) -> str:
    """Show the host of a URL and its last four characters, and of a key these alone; e-mail addresses are no secret."""
    if "://" not in target:
        return target if "@" in target else _mask(target)
    parts = urlsplit(target)
    host = parts.netloc.rpartition("@")[2]
    path = target.partition(parts.netloc)[2].lstrip("/")
    return f"{parts.scheme}://{host}" + (f"/{_mask(path)}" if path else "")


def without_target(text: str, target: str) -> str:
    """Mask a target, and the path of its URL, where a text quotes them, as errors of connections do.

    A path that is shorter than any secret is left, as it may be a word.
    """
    path = target.partition("://")[2].partition("/")[2]
    if "://" not in target and "@" not in target:
        path = target.rpartition(":")[2]  # the key, without the region before it
    elif "@" not in target:
        text = text.replace(target, mask_target(target))
    return text.replace(path, _mask(path)) if len(path) >= MIN_MASKED else text


def without_acts(text: str) -> str:
    """Mask the links in a message that act: only its receiver may use them, and more people read what was sent."""
    return _ACT.sub(r"\1…", text)


def _mask(secret: str) -> str:
    return "…" + (secret[-4:] if len(secret) >= MIN_MASKED else "")
