"""How sinks do: what `manage.py doctor` and `/metrics` say of them."""

from collections.abc import Iterator
from datetime import timedelta

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.base.feature import FeatureMetrics, Finding, Sample
from monitors.sinks.models import Sink
from monitors.sinks.selectors import MAX_SINKS_SENT, sinks_to_send
from monitors.sinks.streams.readers import statuses_of

SENT_LATE_AFTER = timedelta(minutes=5)


def findings() -> Iterator[Finding]:
    """Yield how far each sink is behind, or why nothing is sent."""
    for sink in Sink.objects.select_related("project").order_by("project__slug"):
        subject, statuses = f"sink of {sink.project.slug}", statuses_of(sink, now=now())
        waiting = sum(one.waiting for one in statuses)
        behind = timedelta(seconds=max((one.behind_seconds for one in statuses), default=0.0))
        text = f"{waiting:,} rows wait, the oldest for {behind.total_seconds():,.0f} s"
        if sink.failing_since is not None:
            text = f"not everything sent since {sink.failing_since:%Y-%m-%d %H:%M:%S} UTC: {sink.error}"
            yield Finding(
                subject, text, "Mend it, or stop it on Settings, Sink: what is stored waits until then."
            )
        elif behind > SENT_LATE_AFTER:
            yield Finding(subject, text, _remedy_of_late(sink))
        else:
            yield Finding(subject, text)


def _remedy_of_late(sink: Sink) -> str:
    if sinks_to_send().filter(pk=sink.pk).exists():
        return f"No process sends it: run manage.py consume, and one more for every {MAX_SINKS_SENT} sinks."
    return "Look at the log of manage.py consume."


def _samples(project: Project | None) -> Iterator[Sample]:
    """Yield what each stream of a sink has sent and lost, and how far it is behind."""
    sinks = Sink.objects.select_related("project").order_by("pk")
    for sink in sinks if project is None else sinks.filter(project=project):
        for status in statuses_of(sink, now=now()):
            names = [sink.project.slug, status.kind]
            yield "driftline_sink_waiting_rows", names, status.waiting
            yield "driftline_sink_lag_seconds", names, status.behind_seconds
            yield "driftline_sink_sent_rows", names, status.sent
            yield "driftline_sink_lost_rows", names, status.lost
        if sink.failing_since is not None:
            since = sink.failing_since.timestamp()
            yield "driftline_sink_failing_since_timestamp_seconds", [sink.project.slug], since


METRICS = FeatureMetrics(
    {
        "driftline_sink_waiting_rows": ("Rows or events that wait to be sent.", ("project", "stream")),
        "driftline_sink_lag_seconds": ("How long the oldest of them has waited.", ("project", "stream")),
        "driftline_sink_sent_rows": ("Messages of a sink that were acknowledged.", ("project", "stream")),
        "driftline_sink_lost_rows": (
            "Rows that were damaged, erased or dropped by retention before they were sent.",
            ("project", "stream"),
        ),
        "driftline_sink_failing_since_timestamp_seconds": (
            "Since when nothing can be sent to a sink; absent while it can.",
            ("project",),
        ),
    },
    _samples,
)
