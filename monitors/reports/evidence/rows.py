"""Which stored rows, windows and changes are of a pack's period; rows are counted from summaries."""

from collections.abc import Iterator
from datetime import timedelta

from django.db.models import Q, QuerySet

from driftline.base.periods import ROLLING_DAYS, Period, window
from inference.prediction_log.models import ANSWERING_ROLES
from inference.registry.models import DeploymentChange
from monitors.metrics.periods import held_period, within
from monitors.reports.evidence.sections import EvidenceSubject
from monitors.summaries.models import Summary

_MAX_WINDOW = timedelta(days=ROLLING_DAYS[-1])
_MICROSECOND = timedelta(microseconds=1)


def stored_rows(subject: EvidenceSubject) -> QuerySet[Summary]:
    """Select the summaries that count each row of `counted_period` once; the rows are those that callers were answered
    with."""
    return Summary.objects.filter(
        within(counted_period(subject)), model=subject.model, segment="", role__in=ANSWERING_ROLES
    )


def counted_period(subject: EvidenceSubject) -> Period:
    """Widen a pack's period to what summaries tell apart: whole hours, and days or months that stand for theirs."""
    first = window(subject.period.start, "hour")
    last = window(subject.period.end - _MICROSECOND, "hour")
    return held_period(subject.model, Period(first.start, last.end))


def deployment_changes_of(subject: EvidenceSubject) -> QuerySet[DeploymentChange]:
    """Select the changes of what is deployed that are of the period, by the wall clock or by event time."""
    period = subject.period
    by_clock = Q(at__gte=period.start, at__lt=period.end)
    by_data = Q(event_time__gte=period.start, event_time__lt=period.end)
    return DeploymentChange.objects.filter(by_clock | by_data, model=subject.model).order_by("pk")


def describe_counting(subject: EvidenceSubject) -> Iterator[str]:
    """Describe of which time rows are counted, where that is more than the period."""
    counted = counted_period(subject)
    if counted != subject.period:
        yield (
            f"Rows are counted from {counted.start:%Y-%m-%d %H:%M} to {counted.end:%Y-%m-%d %H:%M} UTC: what is stored "
            "cannot be divided at the ends of the period."
        )


def ended_in(period: Period) -> Q:
    """Select the windows of a period, each of which is of one alone: those that ended in it, as weeks and rolling
    windows are measured when they do."""
    of_index = Q(start__gte=period.start - _MAX_WINDOW, start__lt=period.end)
    return of_index & Q(end__gt=period.start, end__lte=period.end)
