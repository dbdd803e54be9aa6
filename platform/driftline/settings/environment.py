"""The environment variables that configure Driftline: each has a default, one line of help and a clear error."""

from collections.abc import Iterator
from pathlib import Path

from driftline.features import FEATURES
from driftline.settings.parsing import (
    Setting,
    as_collector_url,
    as_features,
    as_file,
    as_flag,
    as_folder,
    as_folders,
    as_fsync,
    as_http_url,
    as_hub_url,
    as_mail_url,
    as_metric_aliases,
    as_mfa_group,
    as_nats_url,
    as_natural,
    as_networks,
    as_positive,
    as_share,
    as_store_url,
    as_syslog_url,
    as_url,
    as_words,
)
from monitors.workflows.trainers.catalogue import REMOTE, SHIPPED

CHECKOUT = Path(__file__).resolve().parents[3]


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
PORT = Setting("DRIFTLINE_PORT", "8000", "Port of the web server.", as_natural, "a port number such as 8000")
GRPC_PORT = Setting(
    "DRIFTLINE_GRPC_PORT",
    "",
    "Port of inference over gRPC; empty takes the one after the web server's, 0 turns gRPC off.",
    lambda text: as_natural(text) if text else None,
    "a port number such as 8001, or 0",
)
DATABASE_URL = Setting(
    "DRIFTLINE_DATABASE_URL",
    "",
    "PostgreSQL >= 15 as postgresql://user:password@host:port/name; empty runs the embedded one.",
    as_url,
    "a URL such as postgresql://driftline@db:5432/driftline",
)
REPLICA_URL = Setting(
    "DRIFTLINE_REPLICA_URL",
    "",
    "Standby of the database that pages and lists are read from, as postgresql://...; empty reads the primary.",
    as_url,
    "a URL such as postgresql://driftline@standby:5432/driftline",
)
WAL_ARCHIVE = Setting(
    "DRIFTLINE_WAL_ARCHIVE",
    "",
    "Folder, on another disk than the home, to which the embedded PostgreSQL archives its write-ahead log, so that "
    "`manage.py restore --until` brings back any moment since a backup; one archive is for one installation. Empty "
    "archives nothing.",
    as_folder,
    "the absolute path of a folder that exists, other than /",
)
BROKER_URL = Setting(
    "DRIFTLINE_BROKER_URL",
    "",
    "Celery broker, amqp:// (RabbitMQ) or redis://; empty runs the embedded one.",
    as_url,
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
    as_words,
    "keys separated by commas",
)
DEBUG = Setting(
    "DRIFTLINE_DEBUG", "0", "1 shows error details in pages; never in production.", as_flag, "0 or 1"
)
ALLOWED_HOSTS = Setting(
    "DRIFTLINE_ALLOWED_HOSTS",
    "localhost,127.0.0.1,[::1]",
    "Host names that this server answers to, separated by commas.",
    as_words,
    "host names separated by commas",
)
PUBLIC_URL = Setting(
    "DRIFTLINE_PUBLIC_URL",
    "",
    "Address people reach this server at, used in e-mails; empty means http://127.0.0.1:<port>.",
    as_url,
    "a URL such as https://driftline.example.com",
)
BEHIND_TLS = Setting(
    "DRIFTLINE_BEHIND_TLS",
    "0",
    "1 when a proxy in front ends TLS and sets X-Forwarded-Proto: turns on secure cookies and HSTS.",
    as_flag,
    "0 or 1",
)
TLS_CERTIFICATE = Setting(
    "DRIFTLINE_TLS_CERTIFICATE",
    "",
    "PEM file of the certificate chain with which this server itself speaks HTTPS, and gRPC over TLS.",
    as_file,
    "the path of a PEM file",
)
TLS_KEY = Setting(
    "DRIFTLINE_TLS_KEY",
    "",
    "PEM file of the certificate's private key, without a password.",
    as_file,
    "the path of a PEM file",
)
TLS_CLIENT_CA = Setting(
    "DRIFTLINE_TLS_CLIENT_CA",
    "",
    "PEM file of authorities: inference is answered only to clients with a certificate that one of them signed, and "
    "gRPC to nobody else; pages and API need none. Needs DRIFTLINE_TLS_CERTIFICATE.",
    as_file,
    "the path of a PEM file",
)
TRUSTED_PROXIES = Setting(
    "DRIFTLINE_TRUSTED_PROXIES",
    "",
    "Networks of the proxies in front, separated by commas; X-Forwarded-For is believed from these alone, which must "
    "append to it or replace it. "
    "Empty means this machine where DRIFTLINE_BEHIND_TLS is 1, else none.",
    as_networks,
    "networks such as 10.1.0.0/16, separated by commas",
)
REQUIRE_MFA = Setting(
    "DRIFTLINE_REQUIRE_MFA",
    "",
    "Who needs two-factor authentication: none, staff, admins (staff, and admins of projects) or all; empty means "
    "staff where the server is reached by TLS, else none.",
    as_mfa_group,
    "none, staff, admins or all",
)
SIGN_IN_FILE = Setting(
    "DRIFTLINE_SIGN_IN_FILE",
    "",
    "YAML file that names identity providers (OpenID Connect, SAML 2.0), the roles that their groups give, and who may "
    "still use a password; see the guide on sign-in. Empty: everybody signs in with a password.",
    as_file,
    "the path of a YAML file",
)
OUTBOUND_ALLOW = Setting(
    "DRIFTLINE_OUTBOUND_ALLOW",
    "",
    "Networks that webhooks and endpoints may reach although private, such as 10.1.0.0/16, separated by commas.",
    as_networks,
    "networks such as 10.1.0.0/16, separated by commas",
)
SOURCE_FOLDERS = Setting(
    "DRIFTLINE_SOURCE_FOLDERS",
    "",
    "Folders of this server below which sources may read files, separated by commas; empty lets them read none. Every "
    "editor of a project can have files below them logged, and see rows of them.",
    as_folders,
    "absolute paths other than /, separated by commas",
)
LAKE_FOLDERS = Setting(
    "DRIFTLINE_LAKE_FOLDERS",
    "",
    "Folders of this server below which projects may have a lake, separated by commas; empty lets none. Every admin of "
    "a project can have files written below them.",
    as_folders,
    "absolute paths other than /, separated by commas",
)
HUGGING_FACE_URL = Setting(
    "DRIFTLINE_HUGGING_FACE_URL",
    "https://huggingface.co",
    "Address of the Hugging Face hub, or of a server that answers as it does, from which versions are pulled.",
    as_hub_url,
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
    as_file,
    "the path of a PEM file",
)
SPOOL_FSYNC = Setting(
    "DRIFTLINE_SPOOL_FSYNC",
    "interval",
    "When the spool reaches the disk: interval (a power loss costs at most the last DRIFTLINE_SPOOL_SYNC_MS), group or "
    "always (before the answer leaves), off (when the system likes). What was answered survives the process in each.",
    as_fsync,
    "off, interval, group or always",
)
SPOOL_SYNC_MS = Setting(
    "DRIFTLINE_SPOOL_SYNC_MS",
    "100",
    "Milliseconds after which what was spooled is brought to the disk at the latest, with interval.",
    as_positive,
    "a whole number of milliseconds above 0, such as 100",
)
SERVING_MEMORY_BYTES = Setting(
    "DRIFTLINE_SERVING_MEMORY_BYTES",
    "0",
    "Bytes of memory that a serving process may hold; 0 is half of the machine's, at least 4 GiB. Beyond it the "
    "process starts anew, and the version that ran is blamed.",
    as_natural,
    "a whole number of bytes such as 8589934592, or 0",
)
SPOOL_MAX_BYTES = Setting(
    "DRIFTLINE_SPOOL_MAX_BYTES",
    str(1 << 30),
    "Bytes that may wait in the spool before inference answers 503.",
    as_natural,
    "a number of bytes such as 1073741824",
)
ENCRYPT_LOG = Setting(
    "DRIFTLINE_ENCRYPT_LOG",
    "0",
    "1 seals what is written to the spool, the jobs and the log's chunks from then on (AES-256-GCM).",
    as_flag,
    "0 or 1",
)
JOB_DEADLINE_SECONDS = Setting(
    "DRIFTLINE_JOB_DEADLINE_SECONDS",
    "3600",
    "Seconds that a job of asynchronous inference may wait and run before it fails.",
    as_positive,
    "a whole number above 0, such as 3600",
)
JOB_KEEP_SECONDS = Setting(
    "DRIFTLINE_JOB_KEEP_SECONDS",
    "86400",
    "Seconds for which a job's answer can be fetched.",
    as_positive,
    "a whole number above 0, such as 86400",
)
JOB_MAX_BYTES = Setting(
    "DRIFTLINE_JOB_MAX_BYTES",
    str(1 << 30),
    "Bytes that jobs and their answers may take; a project gets half before it is answered 429.",
    as_positive,
    "a number of bytes such as 1073741824",
)
ISOLATED_MEMORY_BYTES = Setting(
    "DRIFTLINE_ISOLATED_MEMORY_BYTES",
    "3221225472",
    "Memory that the process of an isolated version may allocate, beyond four times its model's file.",
    as_positive,
    "a whole number above 0 such as 3221225472",
)
LOG_ROWS_PER_SECOND = Setting(
    "DRIFTLINE_LOG_ROWS_PER_SECOND",
    "0",
    "Rows a second that a project may log through each serving process before it is answered 429; 0 sets no limit.",
    as_natural,
    "a whole number such as 50000, or 0",
)
DEDUPE_DAYS = Setting(
    "DRIFTLINE_DEDUPE_DAYS",
    "7",
    "Days from a prediction's arrival in which its id is refused a second time, at least.",
    as_natural,
    "a whole number of days such as 7",
)
RETENTION_DAYS = Setting(
    "DRIFTLINE_RETENTION_DAYS",
    "400",
    "Days of event time that predictions are kept where their model says nothing else; 0 keeps them for ever.",
    as_natural,
    "a whole number of days such as 400, or 0",
)
HOURLY_SUMMARY_DAYS = Setting(
    "DRIFTLINE_HOURLY_SUMMARY_DAYS",
    "14",
    "Days of event time after which a day's hourly summaries are kept added up alone; 0 keeps them for ever.",
    as_natural,
    "a whole number of days such as 14, or 0",
)
DAILY_SUMMARY_DAYS = Setting(
    "DRIFTLINE_DAILY_SUMMARY_DAYS",
    "400",
    "Days of event time after which a month's daily summaries are kept added up alone; 0 keeps them for ever.",
    as_natural,
    "a whole number of days such as 400, or 0",
)
SUMMARY_RETENTION_DAYS = Setting(
    "DRIFTLINE_SUMMARY_RETENTION_DAYS",
    "0",
    "Days of event time that summaries and points are kept where their model says nothing else; 0 keeps them for ever.",
    as_natural,
    "a whole number of days such as 800, or 0",
)
REPORT_RETENTION_DAYS = Setting(
    "DRIFTLINE_REPORT_RETENTION_DAYS",
    "90",
    "Days from being asked for that reports by Evidently are kept; 0 keeps them until somebody deletes them.",
    as_natural,
    "a whole number of days such as 90, or 0",
)
WEB_WORKERS = Setting(
    "DRIFTLINE_WEB_WORKERS", "1", "Serving processes.", as_natural, "a whole number such as 2"
)
WEB_THREADS = Setting(
    "DRIFTLINE_WEB_THREADS",
    "6",
    "Requests for pages and the API that run at once in each serving process; others wait, then get 503.",
    as_positive,
    "a whole number above 0, such as 6",
)
LOG_THREADS = Setting(
    "DRIFTLINE_LOG_THREADS",
    "12",
    "Requests that log predictions or labels and run at once in each serving process; others wait, then get 503.",
    as_positive,
    "a whole number above 0, such as 12",
)
TASK_WORKERS = Setting(
    "DRIFTLINE_TASK_WORKERS",
    "2",
    "Celery worker processes; one is kept for short work where there are two or more.",
    as_natural,
    "a whole number such as 2",
)
TRAINERS = Setting(
    "DRIFTLINE_TRAINERS",
    ",".join([*SHIPPED, REMOTE]),
    "Trainers that a workflow may run, separated by commas; `remote` is a pipeline elsewhere.",
    as_words,
    "trainer names separated by commas",
)
SNAPSHOT_STORE = Setting(
    "DRIFTLINE_SNAPSHOT_STORE",
    "",
    "Bucket or shared folder that snapshots are written to in parts, for pipelines on a cluster; empty writes them to "
    "none. Keys and endpoint of a bucket are those of the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on).",
    as_store_url,
    "a URL such as s3://bucket/driftline or file:///mnt/shared/driftline, without keys",
)
METRIC_ALIASES = Setting(
    "DRIFTLINE_METRIC_ALIASES",
    "triton",
    "Servers with metric names that /metrics uses as well: triton, tensorflow-serving, both, or none.",
    as_metric_aliases,
    "triton, tensorflow-serving, both separated by a comma, or none",
)
OTLP_ENDPOINT = Setting(
    "DRIFTLINE_OTLP_ENDPOINT",
    "",
    "Collector that gets OpenTelemetry traces over OTLP/HTTP, such as http://127.0.0.1:4318; empty makes none.",
    as_http_url,
    "a URL such as http://127.0.0.1:4318",
)
TRACE_RATIO = Setting(
    "DRIFTLINE_TRACE_RATIO",
    "0.01",
    "Share of requests and tasks that are traced where no caller's traceparent decides it.",
    as_share,
    "a number from 0 to 1, such as 0.01",
)
AUDIT_SYSLOG = Setting(
    "DRIFTLINE_AUDIT_SYSLOG",
    "",
    "Receiver that gets the audit trail as syslog (RFC 5424): tls://, tcp:// or udp://, a host and a port; empty sends "
    "none.",
    as_syslog_url,
    "an address such as tls://siem.example.com:6514",
)
AUDIT_OTLP = Setting(
    "DRIFTLINE_AUDIT_OTLP",
    "",
    "Collector that gets the audit trail as OpenTelemetry logs over OTLP/HTTP, without the path /v1/logs; empty sends "
    "none.",
    as_collector_url,
    "a URL such as https://collector.example.com:4318, without user or query",
)
AUDIT_OTLP_HEADERS_FILE = Setting(
    "DRIFTLINE_AUDIT_OTLP_HEADERS_FILE",
    "",
    "File with headers for that collector, one `Name: value` a line, such as Authorization; read for every batch.",
    as_file,
    "the path of a text file",
)
AUDIT_EXPORT_CA = Setting(
    "DRIFTLINE_AUDIT_EXPORT_CA",
    "",
    "PEM file of who signed the certificates of these receivers; empty takes those that the system trusts.",
    as_file,
    "the path of a PEM file",
)
AUDIT_EXPORT_CERTIFICATE = Setting(
    "DRIFTLINE_AUDIT_EXPORT_CERTIFICATE",
    "",
    "PEM file with the certificate that is shown to these receivers, and its key without a password.",
    as_file,
    "the path of a PEM file",
)
DEVICE_NATS = Setting(
    "DRIFTLINE_DEVICE_NATS",
    "",
    "Server of NATS over which devices reach this installation, tls:// or on this machine nats://; empty takes none.",
    as_nats_url,
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
    as_file,
    "the path of a text file",
)
DEVICE_NATS_CA = Setting(
    "DRIFTLINE_DEVICE_NATS_CA",
    "",
    "PEM file of who signed the certificate of that server; empty takes those that the system trusts.",
    as_file,
    "the path of a PEM file",
)
EMAIL_URL = Setting(
    "DRIFTLINE_EMAIL_URL",
    "",
    "smtp://user:password@host:port (smtp+starttls:// or smtps:// for TLS); empty writes e-mails to the home's mail/.",
    as_mail_url,
    "a URL such as smtp+starttls://user:password@mail.example.com:587, with smtp, smtp+starttls or smtps",
)
EMAIL_FROM = Setting(
    "DRIFTLINE_EMAIL_FROM", "driftline@localhost", "Sender of alert e-mails.", str, "an e-mail address"
)
LOG_MAX_BYTES = Setting(
    "DRIFTLINE_LOG_MAX_BYTES",
    str(50 << 20),
    "Bytes after which `up` moves a process's log aside to its .log.1, replacing the one before.",
    as_positive,
    "a number of bytes such as 52428800",
)
CHOSEN_FEATURES = Setting(
    "DRIFTLINE_FEATURES",
    "",
    "Features of this installation, separated by commas, or none; empty takes all. Tables of the others stay.",
    as_features,
    f"none, or some of {', '.join(FEATURES)}",
)


def every_setting() -> Iterator[Setting[object]]:
    """List every setting, for the documentation and the test that keeps it complete."""
    for value in globals().values():
        if isinstance(value, Setting):
            yield value
