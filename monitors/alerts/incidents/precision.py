"""How often a rule was right, by what people said of its incidents, and a limit that would have been better."""

from dataclasses import dataclass

from driftline.base.periods import Period
from monitors.alerts.models import Alert, Incident
from monitors.rules.judging.better_limit import BetterLimit, better_limit
from monitors.rules.models import Rule

MAX_ALERTS = 20


@dataclass(frozen=True)
class Precision:
    """What became of the newest alerts of a rule, at most `MAX_ALERTS`."""

    alerts: int
    false_alarms: int
    expected: int
    better: BetterLimit | None

    @property
    def share(self) -> float | None:
        """The share that nobody called a false alarm; None before the first alert."""
        return 1 - self.false_alarms / self.alerts if self.alerts else None


def precision_of(rule: Rule) -> Precision:
    """Count the false alarms among the newest alerts of a rule, and look for a limit without them.

    What people expected was no false alarm, and says nothing of the limit.
    """
    alerts = list(Alert.objects.filter(rule=rule).select_related("incident").order_by("-pk")[:MAX_ALERTS])
    wrong = [one for one in alerts if one.incident.judgement == Incident.Judgement.FALSE_ALARM]
    expected = [one for one in alerts if one.incident.judgement == Incident.Judgement.EXPECTED]
    others = [one for one in alerts if one not in wrong and one not in expected]
    better = better_limit(
        rule, false_alarms=[_period(one) for one in wrong], others=[_period(one) for one in others]
    )
    return Precision(len(alerts), len(wrong), len(expected), better)


def _period(alert: Alert) -> Period:
    """Return the time in which an alert fired."""
    return Period(alert.since, max(alert.last_window_end, alert.window_end))
