"""How the text of an environment variable becomes a value, or the sentence that says what to write."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from driftline.features import FEATURES

Fsync = Literal["off", "interval", "group", "always"]


MfaGroup = Literal["none", "staff", "admins", "all"]


@dataclass(frozen=True)
class Setting[T]:
    """One environment variable: how its text becomes a value, and what it is for."""

    name: str
    default: str
    help: str
    parse: Callable[[str], T]
    expected: str

    def read(self) -> T:
        """Parse the variable; a wrong value stops start-up with a sentence that says what to write."""
        text = os.environ.get(self.name, "") or self.default
        try:
            return self.parse(text)
        except ValueError as error:
            raise ImproperlyConfigured(f"{self.name} is {text!r}; use {self.expected}.") from error


def as_flag(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError(text)
    return text == "1"


def as_natural(text: str) -> int:
    if int(text) < 0:
        raise ValueError(text)
    return int(text)


def as_positive(text: str) -> int:
    if int(text) <= 0:
        raise ValueError(text)
    return int(text)


def as_words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def as_features(text: str) -> list[str]:
    """Return the folders of features as packages, in the order of the product."""
    names = [] if text == "none" else as_words(text) or list(FEATURES)
    if not FEATURES.keys() >= set(names):
        raise ValueError(text)
    return [package for name, package in FEATURES.items() if name in names]


def as_metric_aliases(text: str) -> list[str]:
    words = as_words(text)
    if words == ["none"]:
        return []
    if not set(words) <= {"triton", "tensorflow-serving"} or len(set(words)) < len(words):
        raise ValueError(text)
    return words


def as_networks(text: str) -> list[str]:
    return [str(ip_network(word)) for word in as_words(text)]


def as_folders(text: str) -> list[str]:
    folders = as_words(text)
    if not all(Path(one).is_absolute() and Path(one) != Path("/") for one in folders):
        raise ValueError(text)
    return folders


def as_folder(text: str) -> Path | None:
    if text and (not Path(text).is_absolute() or Path(text) == Path("/") or not text.isprintable()):
        raise ValueError(text)
    return Path(text) if text else None


def as_file(text: str) -> Path | None:
    return Path(text).expanduser().resolve() if text else None


def as_mfa_group(text: str) -> MfaGroup | None:
    match text:
        case "none" | "staff" | "admins" | "all":
            return text
        case "":
            return None
    raise ValueError(text)


def as_fsync(text: str) -> Fsync:
    match text:
        case "off" | "interval" | "group" | "always":
            return text
    raise ValueError(text)


def as_url(text: str) -> str:
    if text and "://" not in text:
        raise ValueError(text)
    return text


def as_http_url(text: str) -> str:
    if text and not text.startswith(("http://", "https://")):
        raise ValueError(text)
    return text


def as_syslog_url(text: str) -> str:
    url = urlsplit(text)
    is_address = url.scheme in ("udp", "tcp", "tls") and url.hostname and url.port
    if text and (not is_address or text != f"{url.scheme}://{url.netloc}" or "@" in text):
        raise ValueError(text)
    return text


def as_nats_url(text: str) -> str:
    """Take no user and no plain connection to another machine: what devices send holds their tokens."""
    url = urlsplit(text)
    is_here = url.scheme == "nats" and url.hostname in ("127.0.0.1", "::1", "localhost")
    is_address = bool(url.hostname) and url.port != 0 and "@" not in text
    if text and (
        not is_address or not (is_here or url.scheme == "tls") or text != f"{url.scheme}://{url.netloc}"
    ):
        raise ValueError(text)
    return text


def as_collector_url(text: str) -> str:
    """Take no user, password or query: secrets belong in the file of headers."""
    if text and {*"?#@ "} & set(text):
        raise ValueError(text)
    return as_http_url(text)


def as_store_url(text: str) -> str:
    """Take the bucket or folder alone: keys in it would stand in orders and audit entries."""
    url = urlsplit(text)
    is_bucket = url.scheme == "s3" and url.netloc and not {"@", ":"} & set(url.netloc)
    is_folder = url.scheme == "file" and not url.netloc and url.path.strip("/")
    if text and (
        not (is_bucket or is_folder) or {*"?#% "} & set(text) or not text.isprintable() or len(text) > 300
    ):
        raise ValueError(text)
    return text.rstrip("/")


def as_hub_url(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.netloc or {*"?#@% "} & set(text) or len(text) > 100:
        raise ValueError(text)
    return text.rstrip("/")


def as_share(text: str) -> float:
    if not 0 <= float(text) <= 1:
        raise ValueError(text)
    return float(text)


def as_mail_url(text: str) -> str:
    if text and text.partition("://")[0] not in ("smtp", "smtp+starttls", "smtps"):
        raise ValueError(text)
    return as_url(text)
