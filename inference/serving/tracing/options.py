"""Where traces go. It imports no OpenTelemetry, which only a process with traces needs."""

from msgspec import Struct


class TraceOptions(Struct, frozen=True):
    """See DRIFTLINE_OTLP_ENDPOINT and DRIFTLINE_TRACE_RATIO."""

    endpoint: str
    ratio: float
