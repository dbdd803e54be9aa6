"""What the settings say of traces."""

from django.conf import settings

from inference.serving.tracing.options import TraceOptions


def trace_options() -> TraceOptions | None:
    """Return where traces go; None where DRIFTLINE_OTLP_ENDPOINT is empty."""
    if not settings.OTLP_ENDPOINT:
        return None
    return TraceOptions(settings.OTLP_ENDPOINT, settings.TRACE_RATIO)
