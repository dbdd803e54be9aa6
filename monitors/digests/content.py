"""What a digest says of one project: what opened and closed, what is worst, which rules and channels need a look."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from driftline.base.accounts.models import Project
from driftline.base.periods import Period
from monitors.alerts.channels.callback import CALLBACK
from monitors.alerts.models import Channel, Delivery, Incident
from monitors.alerts.wording import moment, shortened
from monitors.feed import kinds
from monitors.feed.models import FeedEvent
from monitors.rules.models import Rule, Severity, Transition

MAX_LINES = 10
MAX_LINE = 200
FLAPS = 3
"""Times that a rule fires in one digest's time before it is said to flap."""
QUIET = timedelta(days=90)
"""How long a rule that never fired must be there before that is said."""
_RUNS = (
    kinds.RUN_PROMOTED, kinds.RUN_REJECTED, kinds.RUN_FAILED, kinds.RUN_CANCELLED, kinds.RUN_ROLLED_BACK,
)  # fmt: skip


@dataclass(frozen=True)
class DigestSection:
    """A heading and its lines; `is_news` says that it is reason enough for a letter."""

    heading: str
    lines: Sequence[str]
    is_news: bool = True


def sections_of(project: Project, period: Period) -> list[DigestSection]:
    """List what there is to say of a project in a period of the wall clock; nothing where nothing is news."""
    sections = [
        DigestSection("Opened", _lines(_opened(project, period))),
        DigestSection("Closed", _lines(_closed(project, period))),
        DigestSection("Worst models, by open incidents", _lines(_worst_models(project))),
        DigestSection("Runs", _lines(_runs(project, period))),
        DigestSection("Wait for a person", _lines(_waiting(project))),
        DigestSection("Rules that flap", _lines(_flapping(project, period))),
        DigestSection("Channels that fail", _lines(_failing_channels(project, period))),
        DigestSection("Rules that never fired", _lines(_never_fired(project, period.end)), is_news=False),
    ]
    if not any(section.lines and section.is_news for section in sections):
        return []
    return [section for section in sections if section.lines]


def _lines(found: Iterator[str]) -> list[str]:
    """Cut each line, and the list, with how many more there are."""
    lines = [shortened(line, MAX_LINE) for line in found]
    more = len(lines) - MAX_LINES
    return [*lines[:MAX_LINES], f"and {more:,} more"] if more > 0 else lines


def _opened(project: Project, period: Period) -> Iterator[str]:
    opened = Incident.objects.filter(project=project, created_at__gte=period.start, created_at__lt=period.end)
    for incident in sorted(opened.order_by("-pk"), key=_by_severity):
        yield f"[{incident.severity}] {incident.title} (INC-{incident.pk}, {incident.status})"


def _closed(project: Project, period: Period) -> Iterator[str]:
    ends = _events(project, period).filter(kind="incident.resolved").order_by("pk")
    seen = {event.data["incident"]["id"]: event for event in ends}
    for event in seen.values():
        incident = event.data["incident"]
        yield f"INC-{incident['id']} {incident['title']}"


def _worst_models(project: Project) -> Iterator[str]:
    """Name the models with unresolved incidents, the worst first."""
    unresolved = Incident.objects.filter(project=project).exclude(status=Incident.Status.RESOLVED)
    counts: dict[str, Counter[str]] = {}
    for model, severity in unresolved.values_list("model__name", "severity"):
        counts.setdefault(model, Counter())[severity] += 1
    order = list(reversed(Severity.values))
    for model, found in sorted(
        counts.items(), key=lambda item: ([-item[1][severity] for severity in order], item[0])
    ):
        yield f"{model}: {', '.join(f'{found[severity]} {severity}' for severity in order if found[severity])}"


def _runs(project: Project, period: Period) -> Iterator[str]:
    for event in _events(project, period).filter(kind__in=_RUNS).order_by("pk"):
        yield event.text


def _waiting(project: Project) -> Iterator[str]:
    """Yield which runs wait now: the newest event of each says that it does."""
    newest = FeedEvent.objects.filter(project=project, kind__startswith="run.").order_by("subject", "-pk")
    for event in newest.distinct("subject"):
        if event.kind == kinds.RUN_WAITING:
            yield f"{event.text}, since {moment(event.at)}"


def _flapping(project: Project, period: Period) -> Iterator[str]:
    fired = Q(
        transitions__kind=Transition.Kind.OPENED,
        transitions__at__gte=period.start,
        transitions__at__lt=period.end,
    )
    rules = Rule.objects.filter(project=project, enabled=True).annotate(
        fired=Count("transitions", filter=fired)
    )
    for rule in rules.filter(fired__gte=FLAPS).select_related("model").order_by("-fired", "pk"):
        yield f"{rule.name} of {rule.model.name} fired {rule.fired} times"


def _never_fired(project: Project, now: datetime) -> Iterator[str]:
    fired = Transition.objects.filter(rule=OuterRef("pk"))
    rules = Rule.objects.filter(~Exists(fired), project=project, enabled=True, created_at__lt=now - QUIET)
    for rule in rules.filter(model__archived_at=None).select_related("model").order_by("model__name", "pk"):
        yield f"{rule.name} of {rule.model.name}"


def _failing_channels(project: Project, period: Period) -> Iterator[str]:
    failed = Q(
        deliveries__state=Delivery.State.FAILED,
        deliveries__created_at__gte=period.start,
        deliveries__created_at__lt=period.end,
    )
    channels = Channel.objects.filter(project=project, deleted_at=None).exclude(kind=CALLBACK)
    disabled = {
        event.data["channel"]["id"] for event in _events(project, period).filter(kind=kinds.CHANNEL_DISABLED)
    }
    for channel in channels.annotate(failed=Count("deliveries", filter=failed)).order_by("name"):
        if channel.failed:
            yield f"{channel.name}: {channel.failed:,} message{'s' if channel.failed > 1 else ''} did not arrive"
        if channel.pk in disabled and not channel.enabled:
            yield f"{channel.name} is disabled: {channel.disabled_reason}"


def _events(project: Project, period: Period) -> QuerySet[FeedEvent]:
    return FeedEvent.objects.filter(project=project, at__gte=period.start, at__lt=period.end)


def _by_severity(incident: Incident) -> int:
    return -Severity.values.index(incident.severity)
