"""The options that a serving process starts with. Light: its parent loads no more of serving than this."""

from typing import Literal

from msgspec import Struct

from driftline.base.outbound.rules import NO_RULES, OutboundRules
from inference.runtime.isolated.limits import IsolationLimits
from inference.serving.body_budget import MAX_BYTES
from inference.serving.job_limits import JobLimits
from inference.serving.tracing.options import TraceOptions

Fsync = Literal["off", "interval", "group", "always"]


class ShadowLimits(Struct, frozen=True):
    """What shadows may take: rows that wait for one of them, seconds of one run, seconds that a breaker is open."""

    max_queued_rows: int = 20_000
    run_seconds: float = 2.0
    open_seconds: float = 30.0


class EngineOptions(Struct, frozen=True):
    """How a serving process logs, and what it bears.

    For logging see DRIFTLINE_SPOOL_FSYNC, DRIFTLINE_SPOOL_SYNC_MS, DRIFTLINE_SPOOL_MAX_BYTES and DRIFTLINE_ENCRYPT_LOG
    (`seals`).
    `max_body_bytes` bounds all requests that are under way, `max_wait_seconds` how long a new one may have to wait,
    `max_run_seconds` one run of a model, `max_memory_bytes` what the process may hold (0: no bound). `remote_threads`
    wait for other servers and compute nothing, under the rules `outbound`. Processes of versions of their own are
    bounded by `isolation`. Without `traces` there are none. What `trusted_proxies`, networks in CIDR notation, say of
    a caller's address is believed.
    """

    fsync: Fsync = "interval"
    sync_ms: int = 100
    spool_max_bytes: int = 2 * 1024**3
    when_full: Literal["refuse", "drop"] = "refuse"
    seals: bool = False
    max_body_bytes: int = MAX_BYTES
    max_wait_seconds: float = 10.0
    max_run_seconds: float = 30.0
    max_memory_bytes: int = 0
    threads: int = 4
    remote_threads: int = 32
    outbound: OutboundRules = NO_RULES
    shadows: ShadowLimits = ShadowLimits()
    jobs: JobLimits = JobLimits()
    isolation: IsolationLimits = IsolationLimits()
    traces: TraceOptions | None = None
    trusted_proxies: list[str] = []


class ServerCertificate(Struct, frozen=True):
    """PEM files of the certificate chain and its private key, with which a server speaks TLS.

    With `client_authorities`, a PEM file, inference is answered only to clients with a certificate of one of them.
    """

    chain: str
    key: str
    client_authorities: str | None = None


class WorkerOptions(Struct, frozen=True):
    """The options of one worker.

    `asgi_app` is "module:attribute" or None for inference alone; `grpc_address` "host:port" or None for no gRPC.
    Without a certificate neither server speaks TLS.
    """

    home: str
    socket_fd: int
    asgi_app: str | None = None
    grpc_address: str | None = None
    certificate: ServerCertificate | None = None
    engine: EngineOptions = EngineOptions()
