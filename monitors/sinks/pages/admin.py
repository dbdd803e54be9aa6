"""The rows of sinks in the admin."""

from driftline.web.admin.reading import register
from monitors.sinks.models import Sink, SinkStream

register(Sink, ("project", "error", "failing_since", "created_at"), ("project",), secret=("secret",))
register(SinkStream, ("sink", "kind", "sent", "lost", "sent_at"), ("kind",))
