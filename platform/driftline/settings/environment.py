"""The environment variables that configure Driftline: each has a default, one line of help and a clear error."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from django.core.exceptions import ImproperlyConfigured

Fsync = Literal["off", "group", "always"]

CHECKOUT = Path(__file__).resolve().parents[3]


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


def _flag(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError(text)
    return text == "1"


def _natural(text: str) -> int:
    if int(text) < 0:
        raise ValueError(text)
    return int(text)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _networks(text: str) -> list[str]:
    return [str(ip_network(word)) for word in _words(text)]


def _fsync(text: str) -> Fsync:
    match text:
        case "off" | "group" | "always":
            return text
    raise ValueError(text)


def _url(text: str) -> str:
    if text and "://" not in text:
        raise ValueError(text)
    return text


HOME = Setting(
    "DRIFTLINE_HOME",
    str(CHECKOUT / "var"),
    "Folder that holds all state of this installation.",
    lambda text: Path(text).expanduser().resolve(),
    "a folder path",
)
PORT = Setting("DRIFTLINE_PORT", "8000", "Port of the web server.", _natural, "a port number such as 8000")
DATABASE_URL = Setting(
    "DRIFTLINE_DATABASE_URL",
    "",
    "PostgreSQL >= 15 as postgresql://user:password@host:port/name; empty runs the embedded one.",
    _url,
    "a URL such as postgresql://driftline@db:5432/driftline",
)
BROKER_URL = Setting(
    "DRIFTLINE_BROKER_URL",
    "",
    "Celery broker, amqp:// (RabbitMQ) or redis://; empty runs the embedded one.",
    _url,
    "a URL such as amqp://guest:guest@localhost:5672//",
)
SECRET_KEY = Setting(
    "DRIFTLINE_SECRET_KEY",
    "",
    "Key that signs sessions and encrypts secrets at rest; empty makes one for this home.",
    str,
    "a random string of 50 characters or more",
)
DEBUG = Setting(
    "DRIFTLINE_DEBUG", "0", "1 shows error details in pages; never in production.", _flag, "0 or 1"
)
ALLOWED_HOSTS = Setting(
    "DRIFTLINE_ALLOWED_HOSTS",
    "localhost,127.0.0.1,[::1]",
    "Host names that this server answers to, separated by commas.",
    _words,
    "host names separated by commas",
)
PUBLIC_URL = Setting(
    "DRIFTLINE_PUBLIC_URL",
    "",
    "Address people reach this server at, used in e-mails; empty means http://127.0.0.1:<port>.",
    _url,
    "a URL such as https://driftline.example.com",
)
BEHIND_TLS = Setting(
    "DRIFTLINE_BEHIND_TLS",
    "0",
    "1 when a proxy in front ends TLS and sets X-Forwarded-Proto: turns on secure cookies and HSTS.",
    _flag,
    "0 or 1",
)
OUTBOUND_ALLOW = Setting(
    "DRIFTLINE_OUTBOUND_ALLOW",
    "",
    "Networks that webhooks may reach although private, such as 10.1.0.0/16, separated by commas.",
    _networks,
    "networks such as 10.1.0.0/16, separated by commas",
)
SPOOL_FSYNC = Setting(
    "DRIFTLINE_SPOOL_FSYNC",
    "group",
    "When the spool reaches the disk: off (survives a process), group or always (survive the machine).",
    _fsync,
    "off, group or always",
)
SPOOL_MAX_BYTES = Setting(
    "DRIFTLINE_SPOOL_MAX_BYTES",
    str(1 << 30),
    "Bytes that may wait in the spool before inference answers 503.",
    _natural,
    "a number of bytes such as 1073741824",
)
WEB_WORKERS = Setting(
    "DRIFTLINE_WEB_WORKERS", "1", "Serving processes.", _natural, "a whole number such as 2"
)
TASK_WORKERS = Setting(
    "DRIFTLINE_TASK_WORKERS", "2", "Celery worker processes.", _natural, "a whole number such as 2"
)
TRAINERS = Setting(
    "DRIFTLINE_TRAINERS",
    "sklearn_random_forest,sklearn_gradient_boosting,sklearn_logistic_regression,lightgbm",
    "Trainers that a workflow may run, separated by commas.",
    _words,
    "trainer names separated by commas",
)
EMAIL_URL = Setting(
    "DRIFTLINE_EMAIL_URL",
    "",
    "smtp://user:password@host:port (smtps:// for TLS); empty writes e-mails to files under the home's mail/.",
    _url,
    "a URL such as smtp://user:password@mail.example.com:587",
)
EMAIL_FROM = Setting(
    "DRIFTLINE_EMAIL_FROM", "driftline@localhost", "Sender of alert e-mails.", str, "an e-mail address"
)
DEMO_MINUTES_PER_DAY = Setting(
    "DRIFTLINE_DEMO_MINUTES_PER_DAY",
    "10",
    "Minutes that one flight day takes in the live part of the demo.",
    _natural,
    "a whole number such as 10",
)


def every_setting() -> Iterator[Setting[object]]:
    """List every setting, for the documentation and the test that keeps it complete."""
    for value in globals().values():
        if isinstance(value, Setting):
            yield value
