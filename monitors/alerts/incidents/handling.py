"""Transitions become alerts, alerts become incidents, and who has to know of it is notified, once for each incident.

All transitions of a model that wait are handled together, in event time and the most causal first, so that an import
that is judged in one pass opens one incident a problem and notifies of it once.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from driftline.base.work.advisory_locks import AdvisoryLock, lock
from driftline.base.work.attempts import DATABASE_FAULTS
from inference.registry.models import Model
from monitors.alerts.incidents.closing import close, end_alert
from monitors.alerts.incidents.grouping import (
    KnownAlert,
    family_of,
    is_one_problem,
    names_among_causes,
    names_of,
)
from monitors.alerts.incidents.labels import labels_of
from monitors.alerts.incidents.snoozing import end_snooze_of_change
from monitors.alerts.incidents.timeline import note, note_still_firing, observation
from monitors.alerts.models import Alert, Incident
from monitors.alerts.sending.channel_timers import is_waited_for, schedule, send_due
from monitors.alerts.sending.news import latest_news
from monitors.alerts.sending.notifying import addressed_channels, ask_for_causes, list_unnotified, notify
from monitors.alerts.sending.outbox import database_time, notified_channels
from monitors.alerts.sending.recipients import recipients_of
from monitors.alerts.story import OPENED, UPDATED
from monitors.alerts.wording import title_of
from monitors.metrics.explaining.causes import FAULT, LABELS, MAX_CAUSES, MINOR
from monitors.rules.models import Rule, Severity, Transition

log = logging.getLogger(__name__)


def handle_transition(transition_id: int) -> None:
    """Turn a transition into its alert, incident and deliveries, exactly once, and notify of what fires by now.

    The other transitions of the model that wait are handled with it: no "resolved" overtakes its "opened". Of one that
    was handled before, only who was not notified yet is. Where one of them cannot be handled, those of the transition's
    own rule are handled alone.
    """
    with transaction.atomic():
        asked = Transition.objects.filter(pk=transition_id).select_related("model").first()
        if asked is None:
            return  # deleted meanwhile, with its rule
        lock(AdvisoryLock.ALERTS, asked.model_id)
        waiting = _waiting(asked.model)
        try:
            with transaction.atomic():
                _Pass().run(waiting, asked)
        except DATABASE_FAULTS:
            raise
        except Exception:
            own = [one for one in waiting if one.rule_id == asked.rule_id]
            if len(own) == len(waiting):
                raise
            log.exception("transitions of a model not handled together", extra={"model": asked.model_id})
            _Pass().run(own, asked)


def _waiting(model: Model) -> list[Transition]:
    """List the transitions of a model that wait, in event time; of the same moment the most causal first.

    Before all others come those that end what never was, so that nothing joins it.
    """
    waiting = Transition.objects.filter(model=model, alerts_done_at=None)
    rules = Rule.objects.filter(pk__in=waiting.values("rule")).order_by("pk")
    kept = [rule.pk for rule in rules.select_for_update(no_key=True)]
    found = waiting.filter(rule__in=kept).select_related("rule", "model__project")
    return sorted(found, key=_order)


def _order(one: Transition) -> tuple[Any, ...]:
    return not one.is_correction, one.window_end, family_of(one.deciding.metric), one.pk


@dataclass
class _Pass:
    """Transitions that are handled together.

    `newest` holds the newest transition of each alert, by its id, and `touched` the incidents that these are of, with
    whether those who know of one must hear of a change.
    """

    newest: dict[int, Transition] = field(default_factory=dict)
    touched: dict[int, bool] = field(default_factory=dict)

    def run(self, waiting: Sequence[Transition], asked: Transition) -> None:
        for one in waiting:
            _HANDLERS[one.kind](self, one)
            Transition.objects.filter(pk=one.pk).update(alerts_done_at=Now())
        self._look_again(asked)
        for incident_id in list(self.touched):
            self._notify(get_incident(incident_id))

    def _look_again(self, asked: Transition) -> None:
        """Mark a rule that goes on firing for those not notified yet: its windows were too old or silenced."""
        alert = _firing_alert(asked)
        if alert is not None and alert.pk not in self.newest and asked.kind != Transition.Kind.RESOLVED:
            self.newest[alert.pk] = asked
            self.touched.setdefault(alert.incident_id, False)

    # -- what a transition does ------------------------------------------------------------------------------------
    def fired(self, transition: Transition) -> None:
        """Go on with the rule's alert; open one where there is none, or where somebody closed it although it fires."""
        alert = _firing_alert(transition)
        if alert is None:
            alert = self._open(transition)
        else:
            alert.last_window_end, alert.definition = transition.window_end, transition.rule.snapshot()
            alert.save(update_fields=["last_window_end", "definition"])
            note_still_firing(alert.incident, transition)
            self._raise_severity(alert, transition)
            self._take_new_fault(alert, transition)
        self.newest[alert.pk] = transition
        self.touched.setdefault(alert.incident_id, False)

    def recovered(self, transition: Transition) -> None:
        """Resolve the rule's alert, and its incident with the last one of it."""
        alert = _firing_alert(transition)
        if alert is None:
            return
        incident, text = alert.incident, observation(transition)
        if incident.alerts.filter(state=Alert.State.FIRING).count() > 1:
            end_alert(alert, at=transition.window_end)
            note(incident, "alert_resolved", text, event_time=transition.window_end)
            return
        self._notify(incident)  # of the opening, before the end
        self.touched.pop(incident.pk, None)
        end_alert(alert, at=transition.window_end)
        ended = max(filter(None, incident.alerts.values_list("resolved_at", flat=True)))
        close(incident, transition, at=ended, text=text)

    def _open(self, transition: Transition) -> Alert:
        incident = _incident_to_join(transition)
        if incident is not None:
            return self._join(incident, transition)
        incident = create_incident(transition)
        if transition.detail.get("causes_are_late"):
            ask_for_causes(incident)
        assert incident.lead is not None
        return incident.lead

    def _raise_severity(self, alert: Alert, transition: Transition) -> None:
        """Raise the severity of the alert and its incident to the rule's by now; neither becomes less severe."""
        incident = alert.incident
        if _rank(transition.severity) <= _rank(alert.severity):
            return
        alert.severity, alert.title = transition.severity, title_of(transition)
        alert.labels = alert.labels | {"severity": transition.severity}
        alert.save(update_fields=["severity", "labels", "title"])
        note(incident, "worsened", f"Now {transition.severity}", event_time=transition.window_end)
        if alert.pk == incident.lead_id:
            incident.title = alert.title
        if _rank(alert.severity) > _rank(incident.severity):
            incident.severity = alert.severity
            end_snooze_of_change(incident, reason=f"it is {alert.severity} now")
            self.touched[incident.pk] = True
        incident.save(update_fields=["title", "severity", "snoozed_until"])

    def _take_new_fault(self, alert: Alert, transition: Transition) -> None:
        """Name in the incident what broke since it opened: the rule fires already, and would not say it else."""
        incident, own = alert.incident, _own_causes(transition)
        if not _names_new_fault(own, incident.causes):
            return
        alert.title = title_of(transition)
        alert.save(update_fields=["title"])
        incident.causes = _merged(incident.causes, own)
        if alert.pk == incident.lead_id:
            incident.title = alert.title
        incident.save(update_fields=["title", "causes"])
        self.touched[incident.pk] = True

    def _join(self, incident: Incident, transition: Transition) -> Alert:
        """Add an alert to an incident, which goes on if it was over.

        The more causal one of the two names and dates it from then on; of two limits of one value the graver one does.
        """
        alert, former = create_alert(incident, transition), incident.lead
        is_worse = _rank(alert.severity) > _rank(incident.severity)
        is_same = former is not None and _is_same_value(alert, former)
        is_more_causal = (
            former is None or family_of(alert.metric) < family_of(former.metric) or (is_same and is_worse)
        )
        was_over = incident.status == Incident.Status.RESOLVED
        if was_over:
            _reopen(incident, transition)
        else:
            note(incident, "joined", f"Also: {observation(transition)}", event_time=transition.window_end)
        was_snoozed = end_snooze_of_change(incident, reason="an alert joined")
        own = transition.detail.get("causes", [])
        is_new_cause = is_more_causal or _names_new_fault(own, incident.causes)
        incident.causes = _merged(own, incident.causes) if is_more_causal else _merged(incident.causes, own)
        if is_more_causal:
            incident.lead, incident.title = alert, alert.title
        if is_same:
            incident.since = min(incident.since, alert.since)
        elif is_more_causal:
            incident.since = alert.since
        if is_worse:
            incident.severity = alert.severity
        incident.save(update_fields=["lead", "title", "severity", "since", "causes", "snoozed_until"])
        is_news = is_new_cause or is_worse or was_snoozed or was_over
        self.touched[incident.pk] = self.touched.get(incident.pk, False) or is_news
        return alert

    # -- who is notified -------------------------------------------------------------------------------------------
    def _notify(self, incident: Incident) -> None:
        """Send the opening to each channel that was never notified of the incident, with what fires by now, and a
        change of its cause or severity to those that were.

        The newest window beyond the limit decides whether that is news, however long ago the first one was. Where it is
        none, that is kept with the message which was not sent, once a channel.
        """
        is_changed = self.touched.get(incident.pk, False)
        if not is_changed and not is_waited_for(incident):
            return
        newest, withheld = latest_news(incident, self.newest)
        if withheld:
            _note_withheld(incident, newest, withheld, is_changed=is_changed)
            return
        at = database_time()
        schedule(incident, is_changed=is_changed, at=at)
        send_due(incident, at=at, find_news=lambda: newest)


_HANDLERS: dict[str, Callable[[_Pass, Transition], None]] = {
    Transition.Kind.OPENED: _Pass.fired,
    Transition.Kind.WORSENED: _Pass.fired,
    Transition.Kind.STILL_FIRING: _Pass.fired,
    Transition.Kind.RESOLVED: _Pass.recovered,
}


def _note_withheld(incident: Incident, news: Transition, withheld: str, *, is_changed: bool) -> None:
    """Keep the messages that are not sent, with the reason: the opening once a channel."""
    notified = notified_channels(incident)
    unnotified = [
        one.channel for one in recipients_of(incident) if not one.escalates and one.channel.pk not in notified
    ]
    changed = [one for one in addressed_channels(incident) if one.pk in notified] if is_changed else []
    notify(incident, news, UPDATED, changed, withheld=withheld)
    notify(incident, news, OPENED, list_unnotified(incident, unnotified), withheld=withheld)


# -- alerts and incidents ----------------------------------------------------------------------------------------------
def get_incident(pk: int) -> Incident:
    """Read an incident with all that messages say of it, and lock it until the transaction ends."""
    return (
        Incident.objects.select_for_update(of=("self",))
        .select_related(
            "project", "model__project", "lead__rule__model", "lead__model", "acknowledged_by", "assignee"
        )
        .get(pk=pk)
    )


def forget_alerts(rules: Collection[Rule]) -> None:
    """Delete the alerts of rules, with the incidents that hold no other; else the most causal other one names it."""
    alerts = Alert.objects.filter(rule__in=rules)
    incidents = list(Incident.objects.filter(alerts__in=alerts).distinct())
    alerts.delete()
    for incident in incidents:
        others = sorted(incident.alerts.all(), key=lambda one: (family_of(one.metric), one.pk))
        if not others:
            incident.delete()
            continue
        incident.lead, incident.title, incident.since = others[0], others[0].title, others[0].since
        incident.causes = others[0].detail.get("causes", [])
        if all(one.resolved_at for one in others) and incident.resolved_at is None:
            incident.status = Incident.Status.RESOLVED
            incident.resolved_at = max(one.resolved_at for one in others if one.resolved_at)
        incident.save(update_fields=["lead", "title", "since", "causes", "status", "resolved_at"])


def _firing_alert(transition: Transition) -> Alert | None:
    alert = Alert.objects.filter(rule=transition.rule_id, state=Alert.State.FIRING).first()
    if alert is not None:
        alert.incident = get_incident(alert.incident_id)
    return alert


def create_incident(transition: Transition) -> Incident:
    """Write the incident that a transition opens, with its first alert, which names it."""
    incident = Incident.objects.create(
        project=transition.model.project,
        model=transition.model,
        title=title_of(transition),
        severity=transition.severity,
        since=transition.since,
        opened_at=transition.window_end,
        causes=transition.detail.get("causes", []),
    )
    incident.lead = create_alert(incident, transition)
    incident.save(update_fields=["lead"])
    note(incident, "opened", observation(transition), event_time=transition.window_end)
    return incident


def create_alert(incident: Incident, transition: Transition) -> Alert:
    """Write the alert of what fired, as a part of an incident; its rule and transition need not be stored."""
    rule, labels = transition.deciding, labels_of(transition)
    return Alert.objects.create(
        incident=incident,
        model=transition.model,
        rule=transition.rule if transition.rule.pk else None,
        opened_by=transition if transition.pk else None,
        title=title_of(transition),
        metric=rule.metric,
        feature=labels["feature"],
        segment=rule.segment,
        severity=transition.severity,
        labels=labels,
        definition=transition.rule.snapshot(),
        since=transition.since,
        window_start=transition.window_start,
        window_end=transition.window_end,
        last_window_end=transition.window_end,
        value=transition.value,
        n=transition.n,
        threshold=transition.threshold,
        detail=transition.detail,
    )


def _incident_to_join(transition: Transition) -> Incident | None:
    """Find the oldest unresolved incident of the model with an alert that is one problem with a transition.

    One that is over by itself goes on where a rule with another limit finds that the same value was beyond it then.
    """
    rule, detail = transition.deciding, transition.detail
    feature = detail.get("feature") or rule.feature
    problem = KnownAlert(
        metric=rule.metric,
        feature=feature,
        segment=rule.segment,
        start=transition.since,
        end=transition.window_end,
        names=names_among_causes(rule.metric, feature, detail),
    )
    unresolved = Incident.objects.filter(model=transition.model).exclude(status=Incident.Status.RESOLVED)
    is_over_too_early = Q(
        model=transition.model, metric=rule.metric, feature=feature, segment=rule.segment,
        resolved_at__gt=transition.since, incident__status=Incident.Status.RESOLVED, incident__closed_at=None,
    )  # fmt: skip
    alerts = Alert.objects.filter(Q(incident__in=unresolved) | is_over_too_early).select_related("incident")
    alerts = alerts.order_by("-incident__resolved_at", "incident__opened_at", "incident_id", "pk")
    joined = next((alert for alert in alerts if is_one_problem(problem, _problem_of(alert))), None)
    return None if joined is None else get_incident(joined.incident_id)


def _problem_of(alert: Alert) -> KnownAlert:
    return KnownAlert(
        metric=alert.metric,
        feature=alert.feature,
        segment=alert.segment,
        start=alert.since,
        end=alert.resolved_at,
        names=_names_by_now(alert),
    )


def _names_by_now(alert: Alert) -> frozenset[str]:
    """Return what an alert is about or is explained by, also what its incident names since: what gives the title is
    explained by causes that were ranked late, and by what broke later."""
    names, incident = names_among_causes(alert.metric, alert.feature, alert.detail), alert.incident
    if alert.pk != incident.lead_id:
        return names
    later = [cause for cause in incident.causes if not names or _is_fault(cause)]
    return names | names_of(later)


def _own_causes(transition: Transition) -> list[dict[str, Any]]:
    """List the causes of a transition that are about what its rule found."""
    rule, causes = transition.deciding, transition.detail.get("causes", [])
    names = names_among_causes(
        rule.metric, transition.detail.get("feature") or rule.feature, transition.detail
    )
    return [cause for cause in causes if names_of([cause]) <= names]


def _is_same_value(one: Alert, other: Alert) -> bool:
    return (one.metric, one.feature, one.segment) == (other.metric, other.feature, other.segment)


def _reopen(incident: Incident, transition: Transition) -> None:
    incident.status, incident.resolved_at = Incident.Status.OPEN, None
    incident.save(update_fields=["status", "resolved_at"])
    note(incident, "reopened", f"Not over: {observation(transition)}", event_time=transition.window_end)


def _merged(first: Sequence[dict[str, Any]], then: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """List causes of two alerts, the same one once, as many as one alert has at most: broken data and labels by how
    much is broken, then the others in their order."""
    known = {_identity(cause) for cause in first}
    both = [*first, *(cause for cause in then if _identity(cause) not in known)]
    return sorted(both, key=lambda cause: -float(cause["score"]) if _is_fault(cause) else 0.0)[:MAX_CAUSES]


def _names_new_fault(causes: Sequence[dict[str, Any]], known: Sequence[dict[str, Any]]) -> bool:
    """Return whether the first of some causes is a fault of what the known ones do not call broken."""
    broken = {cause.get("feature") for cause in known if _is_fault(cause)}
    return bool(causes) and _is_fault(causes[0]) and causes[0].get("feature") not in broken


def _is_fault(cause: dict[str, Any]) -> bool:
    """Return whether a cause is broken data, or missing labels, of more than a few rows."""
    return cause.get("kind") in (FAULT, LABELS) and float(cause.get("score") or 0) >= MINOR


def _identity(cause: dict[str, Any]) -> tuple[object, ...]:
    return cause.get("kind"), cause.get("feature"), cause.get("segment")


def _rank(severity: str) -> int:
    return Severity.values.index(severity)
