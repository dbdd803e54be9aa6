"""The environment variables that configure Driftline: each has a default, one line of help and a clear error."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from monitors.workflows.trainers.catalogue import REMOTE, SHIPPED

Fsync = Literal["off", "interval", "group", "always"]
MfaGroup = Literal["none", "staff", "admins", "all"]

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


def _positive(text: str) -> int:
    if int(text) <= 0:
        raise ValueError(text)
    return int(text)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _metric_aliases(text: str) -> list[str]:
    words = _words(text)
    if words == ["none"]:
        return []
    if not set(words) <= {"triton", "tensorflow-serving"} or len(set(words)) < len(words):
        raise ValueError(text)
    return words


def _networks(text: str) -> list[str]:
    return [str(ip_network(word)) for word in _words(text)]


def _folders(text: str) -> list[str]:
    folders = _words(text)
    if not all(Path(one).is_absolute() and Path(one) != Path("/") for one in folders):
        raise ValueError(text)
    return folders


def _folder(text: str) -> Path | None:
    if text and (not Path(text).is_absolute() or Path(text) == Path("/") or not text.isprintable()):
        raise ValueError(text)
    return Path(text) if text else None


def _file(text: str) -> Path | None:
    return Path(text).expanduser().resolve() if text else None


def _mfa_group(text: str) -> MfaGroup | None:
    match text:
        case "none" | "staff" | "admins" | "all":
            return text
        case "":
            return None
    raise ValueError(text)


def _fsync(text: str) -> Fsync:
    match text:
        case "off" | "interval" | "group" | "always":
            return text
    raise ValueError(text)


def _url(text: str) -> str:
    if text and "://" not in text:
        raise ValueError(text)
    return text


def _http_url(text: str) -> str:
    if text and not text.startswith(("http://", "https://")):
        raise ValueError(text)
    return text


def _syslog_url(text: str) -> str:
    url = urlsplit(text)
    is_address = url.scheme in ("udp", "tcp", "tls") and url.hostname and url.port
    if text and (not is_address or text != f"{url.scheme}://{url.netloc}" or "@" in text):
        raise ValueError(text)
    return text


def _nats_url(text: str) -> str:
    """Take no user and no plain connection to another machine: what devices send holds their tokens."""
    url = urlsplit(text)
    is_here = url.scheme == "nats" and url.hostname in ("127.0.0.1", "::1", "localhost")
    is_address = bool(url.hostname) and url.port != 0 and "@" not in text
    if text and (
        not is_address or not (is_here or url.scheme == "tls") or text != f"{url.scheme}://{url.netloc}"
    ):
        raise ValueError(text)
    return text


def _collector_url(text: str) -> str:
    """Take no user, password or query: secrets belong in the file of headers."""
    if text and {*"?#@ "} & set(text):
        raise ValueError(text)
    return _http_url(text)


def _store_url(text: str) -> str:
    """Take the bucket or folder alone: keys in it would stand in orders and audit entries."""
    url = urlsplit(text)
    is_bucket = url.scheme == "s3" and url.netloc and not {"@", ":"} & set(url.netloc)
    is_folder = url.scheme == "file" and not url.netloc and url.path.strip("/")
    if text and (
        not (is_bucket or is_folder) or {*"?#% "} & set(text) or not text.isprintable() or len(text) > 300
    ):
        raise ValueError(text)
    return text.rstrip("/")


def _hub_url(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.netloc or {*"?#@% "} & set(text) or len(text) > 100:
        raise ValueError(text)
    return text.rstrip("/")


def _share(text: str) -> float:
    if not 0 <= float(text) <= 1:
        raise ValueError(text)
    return float(text)


def _mail_url(text: str) -> str:
    if text and text.partition("://")[0] not in ("smtp", "smtp+starttls", "smtps"):
        raise ValueError(text)
    return _url(text)


HOME = Setting(
    "DRIFTLINE_HOME",
    str(CHECKOUT / "var"),
    "Folder that holds all state of this installation.",
    lambda text: Path(text).expanduser().resolve(),
    "a folder path",
)
LISTEN_HOST = Setting(
    "DRIFTLINE_HOST",
    "127.0.0.1",
    "Address to listen on, for HTTP and gRPC; others than this machine's own need TLS or a declared proxy.",
    str,
    "an address such as 0.0.0.0",
)
PORT = Setting("DRIFTLINE_PORT", "8000", "Port of the web server.", _natural, "a port number such as 8000")
GRPC_PORT = Setting(
    "DRIFTLINE_GRPC_PORT",
    "",
    "Port of inference over gRPC; empty takes the one after the web server's, 0 turns gRPC off.",
    lambda text: _natural(text) if text else None,
    "a port number such as 8001, or 0",
)
DATABASE_URL = Setting(
    "DRIFTLINE_DATABASE_URL",
    "",
    "PostgreSQL >= 15 as postgresql://user:password@host:port/name; empty runs the embedded one.",
    _url,
    "a URL such as postgresql://driftline@db:5432/driftline",
)
REPLICA_URL = Setting(
    "DRIFTLINE_REPLICA_URL",
    "",
    "Standby of the database that pages and lists are read from, as postgresql://...; empty reads the primary.",
    _url,
    "a URL such as postgresql://driftline@standby:5432/driftline",
)
WAL_ARCHIVE = Setting(
    "DRIFTLINE_WAL_ARCHIVE",
    "",
    "Folder, on another disk than the home, to which the embedded PostgreSQL archives its write-ahead log, so that "
    "`manage.py restore --until` brings back any moment since a backup; one archive is for one installation. Empty "
    "archives nothing.",
    _folder,
    "the absolute path of a folder that exists, other than /",
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
SECRET_KEY_FALLBACKS = Setting(
    "DRIFTLINE_SECRET_KEY_FALLBACKS",
    "",
    "Earlier secret keys, separated by commas: what they signed and encrypted can still be read.",
    _words,
    "keys separated by commas",
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
TLS_CERTIFICATE = Setting(
    "DRIFTLINE_TLS_CERTIFICATE",
    "",
    "PEM file of the certificate chain with which this server itself speaks HTTPS, and gRPC over TLS.",
    _file,
    "the path of a PEM file",
)
TLS_KEY = Setting(
    "DRIFTLINE_TLS_KEY",
    "",
    "PEM file of the certificate's private key, without a password.",
    _file,
    "the path of a PEM file",
)
TLS_CLIENT_CA = Setting(
    "DRIFTLINE_TLS_CLIENT_CA",
    "",
    "PEM file of authorities: inference is answered only to clients with a certificate that one of them signed, and "
    "gRPC to nobody else; pages and API need none. Needs DRIFTLINE_TLS_CERTIFICATE.",
    _file,
    "the path of a PEM file",
)
TRUSTED_PROXIES = Setting(
    "DRIFTLINE_TRUSTED_PROXIES",
    "",
    "Networks of the proxies in front, separated by commas; X-Forwarded-For is believed from these alone, which must "
    "append to it or replace it. "
    "Empty means this machine where DRIFTLINE_BEHIND_TLS is 1, else none.",
    _networks,
    "networks such as 10.1.0.0/16, separated by commas",
)
REQUIRE_MFA = Setting(
    "DRIFTLINE_REQUIRE_MFA",
    "",
    "Who needs two-factor authentication: none, staff, admins (staff, and admins of projects) or all; empty means "
    "staff where the server is reached by TLS, else none.",
    _mfa_group,
    "none, staff, admins or all",
)
SIGN_IN_FILE = Setting(
    "DRIFTLINE_SIGN_IN_FILE",
    "",
    "YAML file that names identity providers (OpenID Connect, SAML 2.0), the roles that their groups give, and who may "
    "still use a password; see the guide on sign-in. Empty: everybody signs in with a password.",
    _file,
    "the path of a YAML file",
)
OUTBOUND_ALLOW = Setting(
    "DRIFTLINE_OUTBOUND_ALLOW",
    "",
    "Networks that webhooks and endpoints may reach although private, such as 10.1.0.0/16, separated by commas.",
    _networks,
    "networks such as 10.1.0.0/16, separated by commas",
)
SOURCE_FOLDERS = Setting(
    "DRIFTLINE_SOURCE_FOLDERS",
    "",
    "Folders of this server below which sources may read files, separated by commas; empty lets them read none. Every "
    "editor of a project can have files below them logged, and see rows of them.",
    _folders,
    "absolute paths other than /, separated by commas",
)
LAKE_FOLDERS = Setting(
    "DRIFTLINE_LAKE_FOLDERS",
    "",
    "Folders of this server below which projects may have a lake, separated by commas; empty lets none. Every admin of "
    "a project can have files written below them.",
    _folders,
    "absolute paths other than /, separated by commas",
)
HUGGING_FACE_URL = Setting(
    "DRIFTLINE_HUGGING_FACE_URL",
    "https://huggingface.co",
    "Address of the Hugging Face hub, or of a server that answers as it does, from which versions are pulled.",
    _hub_url,
    "an address such as https://huggingface.co, without a query",
)
HOST_TOKEN = Setting(
    "DRIFTLINE_HOST_TOKEN",
    "",
    "Token of this serving host, with which `serve --only inference --join` pulls the plan from the main server.",
    str,
    "what `manage.py serving_host add NAME` printed on the main server",
)
HOST_CA = Setting(
    "DRIFTLINE_HOST_CA",
    "",
    "PEM file of who signed the main server's certificate, where a serving host's system does not know them.",
    _file,
    "the path of a PEM file",
)
SPOOL_FSYNC = Setting(
    "DRIFTLINE_SPOOL_FSYNC",
    "interval",
    "When the spool reaches the disk: interval (a power loss costs at most the last DRIFTLINE_SPOOL_SYNC_MS), group or "
    "always (before the answer leaves), off (when the system likes). What was answered survives the process in each.",
    _fsync,
    "off, interval, group or always",
)
SPOOL_SYNC_MS = Setting(
    "DRIFTLINE_SPOOL_SYNC_MS",
    "100",
    "Milliseconds after which what was spooled is brought to the disk at the latest, with interval.",
    _positive,
    "a whole number of milliseconds above 0, such as 100",
)
SERVING_MEMORY_BYTES = Setting(
    "DRIFTLINE_SERVING_MEMORY_BYTES",
    "0",
    "Bytes of memory that a serving process may hold; 0 is half of the machine's, at least 4 GiB. Beyond it the "
    "process starts anew, and the version that ran is blamed.",
    _natural,
    "a whole number of bytes such as 8589934592, or 0",
)
SPOOL_MAX_BYTES = Setting(
    "DRIFTLINE_SPOOL_MAX_BYTES",
    str(1 << 30),
    "Bytes that may wait in the spool before inference answers 503.",
    _natural,
    "a number of bytes such as 1073741824",
)
ENCRYPT_LOG = Setting(
    "DRIFTLINE_ENCRYPT_LOG",
    "0",
    "1 seals what is written to the spool, the jobs and the log's chunks from then on (AES-256-GCM).",
    _flag,
    "0 or 1",
)
JOB_DEADLINE_SECONDS = Setting(
    "DRIFTLINE_JOB_DEADLINE_SECONDS",
    "3600",
    "Seconds that a job of asynchronous inference may wait and run before it fails.",
    _positive,
    "a whole number above 0, such as 3600",
)
JOB_KEEP_SECONDS = Setting(
    "DRIFTLINE_JOB_KEEP_SECONDS",
    "86400",
    "Seconds for which a job's answer can be fetched.",
    _positive,
    "a whole number above 0, such as 86400",
)
JOB_MAX_BYTES = Setting(
    "DRIFTLINE_JOB_MAX_BYTES",
    str(1 << 30),
    "Bytes that jobs and their answers may take; a project gets half before it is answered 429.",
    _positive,
    "a number of bytes such as 1073741824",
)
ISOLATED_MEMORY_BYTES = Setting(
    "DRIFTLINE_ISOLATED_MEMORY_BYTES",
    "3221225472",
    "Memory that the process of an isolated version may allocate, beyond four times its model's file.",
    _positive,
    "a whole number above 0 such as 3221225472",
)
LOG_ROWS_PER_SECOND = Setting(
    "DRIFTLINE_LOG_ROWS_PER_SECOND",
    "0",
    "Rows a second that a project may log through each serving process before it is answered 429; 0 sets no limit.",
    _natural,
    "a whole number such as 50000, or 0",
)
DEDUPE_DAYS = Setting(
    "DRIFTLINE_DEDUPE_DAYS",
    "7",
    "Days from a prediction's arrival in which its id is refused a second time, at least.",
    _natural,
    "a whole number of days such as 7",
)
RETENTION_DAYS = Setting(
    "DRIFTLINE_RETENTION_DAYS",
    "400",
    "Days of event time that predictions are kept where their model says nothing else; 0 keeps them for ever.",
    _natural,
    "a whole number of days such as 400, or 0",
)
HOURLY_SUMMARY_DAYS = Setting(
    "DRIFTLINE_HOURLY_SUMMARY_DAYS",
    "14",
    "Days of event time after which a day's hourly summaries are kept added up alone; 0 keeps them for ever.",
    _natural,
    "a whole number of days such as 14, or 0",
)
DAILY_SUMMARY_DAYS = Setting(
    "DRIFTLINE_DAILY_SUMMARY_DAYS",
    "400",
    "Days of event time after which a month's daily summaries are kept added up alone; 0 keeps them for ever.",
    _natural,
    "a whole number of days such as 400, or 0",
)
SUMMARY_RETENTION_DAYS = Setting(
    "DRIFTLINE_SUMMARY_RETENTION_DAYS",
    "0",
    "Days of event time that summaries and points are kept where their model says nothing else; 0 keeps them for ever.",
    _natural,
    "a whole number of days such as 800, or 0",
)
REPORT_RETENTION_DAYS = Setting(
    "DRIFTLINE_REPORT_RETENTION_DAYS",
    "90",
    "Days from being asked for that reports by Evidently are kept; 0 keeps them until somebody deletes them.",
    _natural,
    "a whole number of days such as 90, or 0",
)
WEB_WORKERS = Setting(
    "DRIFTLINE_WEB_WORKERS", "1", "Serving processes.", _natural, "a whole number such as 2"
)
WEB_THREADS = Setting(
    "DRIFTLINE_WEB_THREADS",
    "6",
    "Requests for pages and the API that run at once in each serving process; others wait, then get 503.",
    _positive,
    "a whole number above 0, such as 6",
)
LOG_THREADS = Setting(
    "DRIFTLINE_LOG_THREADS",
    "12",
    "Requests that log predictions or labels and run at once in each serving process; others wait, then get 503.",
    _positive,
    "a whole number above 0, such as 12",
)
TASK_WORKERS = Setting(
    "DRIFTLINE_TASK_WORKERS",
    "2",
    "Celery worker processes; one is kept for short work where there are two or more.",
    _natural,
    "a whole number such as 2",
)
TRAINERS = Setting(
    "DRIFTLINE_TRAINERS",
    ",".join([*SHIPPED, REMOTE]),
    "Trainers that a workflow may run, separated by commas; `remote` is a pipeline elsewhere.",
    _words,
    "trainer names separated by commas",
)
SNAPSHOT_STORE = Setting(
    "DRIFTLINE_SNAPSHOT_STORE",
    "",
    "Bucket or shared folder that snapshots are written to in parts, for pipelines on a cluster; empty writes them to "
    "none. Keys and endpoint of a bucket are those of the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on).",
    _store_url,
    "a URL such as s3://bucket/driftline or file:///mnt/shared/driftline, without keys",
)
METRIC_ALIASES = Setting(
    "DRIFTLINE_METRIC_ALIASES",
    "triton",
    "Servers with metric names that /metrics uses as well: triton, tensorflow-serving, both, or none.",
    _metric_aliases,
    "triton, tensorflow-serving, both separated by a comma, or none",
)
OTLP_ENDPOINT = Setting(
    "DRIFTLINE_OTLP_ENDPOINT",
    "",
    "Collector that gets OpenTelemetry traces over OTLP/HTTP, such as http://127.0.0.1:4318; empty makes none.",
    _http_url,
    "a URL such as http://127.0.0.1:4318",
)
TRACE_RATIO = Setting(
    "DRIFTLINE_TRACE_RATIO",
    "0.01",
    "Share of requests and tasks that are traced where no caller's traceparent decides it.",
    _share,
    "a number from 0 to 1, such as 0.01",
)
AUDIT_SYSLOG = Setting(
    "DRIFTLINE_AUDIT_SYSLOG",
    "",
    "Receiver that gets the audit trail as syslog (RFC 5424): tls://, tcp:// or udp://, a host and a port; empty sends "
    "none.",
    _syslog_url,
    "an address such as tls://siem.example.com:6514",
)
AUDIT_OTLP = Setting(
    "DRIFTLINE_AUDIT_OTLP",
    "",
    "Collector that gets the audit trail as OpenTelemetry logs over OTLP/HTTP, without the path /v1/logs; empty sends "
    "none.",
    _collector_url,
    "a URL such as https://collector.example.com:4318, without user or query",
)
AUDIT_OTLP_HEADERS_FILE = Setting(
    "DRIFTLINE_AUDIT_OTLP_HEADERS_FILE",
    "",
    "File with headers for that collector, one `Name: value` a line, such as Authorization; read for every batch.",
    _file,
    "the path of a text file",
)
AUDIT_EXPORT_CA = Setting(
    "DRIFTLINE_AUDIT_EXPORT_CA",
    "",
    "PEM file of who signed the certificates of these receivers; empty takes those that the system trusts.",
    _file,
    "the path of a PEM file",
)
AUDIT_EXPORT_CERTIFICATE = Setting(
    "DRIFTLINE_AUDIT_EXPORT_CERTIFICATE",
    "",
    "PEM file with the certificate that is shown to these receivers, and its key without a password.",
    _file,
    "the path of a PEM file",
)
DEVICE_NATS = Setting(
    "DRIFTLINE_DEVICE_NATS",
    "",
    "Server of NATS over which devices reach this installation, tls:// or on this machine nats://; empty takes none.",
    _nats_url,
    "an address such as tls://nats.example.com:4222, without user or path",
)
DEVICE_NATS_USER = Setting(
    "DRIFTLINE_DEVICE_NATS_USER",
    "",
    "User of that server; empty where its password is a token.",
    str,
    "a name",
)
DEVICE_NATS_PASSWORD_FILE = Setting(
    "DRIFTLINE_DEVICE_NATS_PASSWORD_FILE",
    "",
    "File with the password or token for that server.",
    _file,
    "the path of a text file",
)
DEVICE_NATS_CA = Setting(
    "DRIFTLINE_DEVICE_NATS_CA",
    "",
    "PEM file of who signed the certificate of that server; empty takes those that the system trusts.",
    _file,
    "the path of a PEM file",
)
EMAIL_URL = Setting(
    "DRIFTLINE_EMAIL_URL",
    "",
    "smtp://user:password@host:port (smtp+starttls:// or smtps:// for TLS); empty writes e-mails to the home's mail/.",
    _mail_url,
    "a URL such as smtp+starttls://user:password@mail.example.com:587, with smtp, smtp+starttls or smtps",
)
EMAIL_FROM = Setting(
    "DRIFTLINE_EMAIL_FROM", "driftline@localhost", "Sender of alert e-mails.", str, "an e-mail address"
)
LOG_MAX_BYTES = Setting(
    "DRIFTLINE_LOG_MAX_BYTES",
    str(50 << 20),
    "Bytes after which `up` moves a process's log aside to its .log.1, replacing the one before.",
    _positive,
    "a number of bytes such as 52428800",
)


def every_setting() -> Iterator[Setting[object]]:
    """List every setting, for the documentation and the test that keeps it complete."""
    for value in globals().values():
        if isinstance(value, Setting):
            yield value
