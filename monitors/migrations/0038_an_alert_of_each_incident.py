from datetime import datetime
from typing import Any

from django.db import migrations

from driftline.common.periods import Period, earlier, is_window

PLAIN = (
    "name", "metric", "feature", "segment", "span", "judged_span", "operator", "threshold", "for_windows",
    "recover_windows", "min_rows", "severity", "action", "enabled",
)  # fmt: skip
DURATIONS = ("cooldown", "notify_within")


def give_alerts(apps: Any, schema_editor: Any) -> None:
    Incident, Alert = apps.get_model("monitors", "Incident"), apps.get_model("monitors", "Alert")
    for incident in Incident.objects.select_related("rule", "model", "opened_by").order_by("pk").iterator():
        rule, opened = incident.rule, incident.opened_by
        feature, since = opened.detail.get("feature") or rule.feature, onset(rule, opened)
        alert = Alert.objects.create(
            incident=incident,
            model=incident.model,
            rule=rule,
            opened_by=opened,
            title=incident.title,
            metric=rule.metric,
            feature=feature,
            segment=rule.segment,
            severity=incident.severity,
            labels={
                "rule": rule.name, "model": incident.model.name, "metric": rule.metric, "feature": feature,
                "segment": rule.segment, "severity": incident.severity, "kind": "",
            },
            definition={name: getattr(rule, name) for name in PLAIN}
            | {name: getattr(rule, name).total_seconds() for name in DURATIONS},
            state="resolved" if incident.status == "resolved" else "firing",
            since=since,
            window_start=opened.window_start,
            window_end=opened.window_end,
            value=opened.value,
            n=opened.n,
            threshold=opened.threshold,
            detail=opened.detail,
            last_window_end=incident.resolved_at or opened.window_end,
            resolved_at=incident.resolved_at,
        )  # fmt: skip
        Incident.objects.filter(pk=incident.pk).update(lead=alert, since=since)


def onset(rule: Any, opened: Any) -> datetime:
    """Return the start of the first window of the run beyond the threshold, as `Transition.since` does."""
    if since := opened.detail.get("since"):
        return datetime.fromisoformat(since)
    more = rule.for_windows - 1
    if is_window(Period(opened.window_start, opened.window_end), rule.judged_span):
        return earlier(opened.window_start, rule.judged_span, more)
    begin: datetime = opened.window_start
    return begin - more * (opened.window_end - opened.window_start)


def take_alerts(apps: Any, schema_editor: Any) -> None:
    """Give each incident its rule back; the release before cannot keep one of a deleted rule."""
    Incident, Alert = apps.get_model("monitors", "Incident"), apps.get_model("monitors", "Alert")
    for incident in Incident.objects.select_related("lead").order_by("pk"):
        lead = incident.lead
        if lead is None or lead.rule_id is None or lead.opened_by_id is None:
            incident.delete()
        else:
            Incident.objects.filter(pk=incident.pk).update(
                rule=lead.rule_id, opened_by=lead.opened_by_id, lead=None
            )
    Alert.objects.all().delete()


class Migration(migrations.Migration):
    dependencies = [("monitors", "0037_alerts")]

    operations = [migrations.RunPython(give_alerts, take_alerts)]
