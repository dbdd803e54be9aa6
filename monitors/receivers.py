"""Connects the monitors to the signals and hooks of the stages before them: one function for each signal.

`log_receivers.py` has those that a serving host needs too.
"""

from datetime import datetime
from typing import Any

from django.db.models import Q
from django.dispatch import receiver

from driftline.base.accounts.hooks import list_active_work
from driftline.base.clock import now
from driftline.base.errors import Problem
from inference.prediction_log.erasure.hooks import list_later_steps
from inference.prediction_log.models import PredictionChunk
from inference.prediction_log.queries.frames import LogFrame
from inference.prediction_log.signals import rows_erased
from inference.registry.hooks import list_callbacks, list_dependents, record_event
from inference.registry.models import Dataset, Deployment, DeploymentChange, Model, Version
from inference.registry.signals import (
    classes_changed,
    dataset_rewritten,
    deployment_changed,
    model_created,
    privacy_changed,
    reference_stored,
    signature_learnt_again,
    text_features_changed,
    version_created,
)
from monitors.active_work import active_work
from monitors.alerts.selectors import days_of_critical_incidents
from monitors.alerts.sending.announcing import announce
from monitors.alerts.sending.job_callbacks import plan_callbacks
from monitors.alerts.services import end_alert_of_rule
from monitors.definitions.choosing import adopt_reference, rebase_reference
from monitors.definitions.models import CustomMetric, Monitor, Reference
from monitors.definitions.services import build_files_again, ensure_monitors, hide, rebuild_reference
from monitors.definitions.signals import (
    custom_metric_dropped,
    custom_metrics_changed,
    custom_points_outdated,
    expectations_changed,
    reference_ready,
    segments_changed,
    segments_dropped,
    span_changed,
)
from monitors.dependents import dependents_of, forget_kinds, users_of
from monitors.erasure import STEPS
from monitors.feed.models import FeedEvent
from monitors.feed.services import record_event as record_in_feed
from monitors.feed.signals import event_recorded
from monitors.metrics.hooks import days_of_faults, limits_of_people
from monitors.metrics.inputs.fitting import measure_history
from monitors.metrics.store.storing import forget_feature, forget_points
from monitors.registry_events import record_deployment, record_reference, record_version
from monitors.rules.models import Rule
from monitors.rules.selectors import enabled_rules
from monitors.rules.services import follow_monitor, refuse_while_watched
from monitors.rules.signals import model_judged, rule_deleted
from monitors.summaries.services import (
    forget_segments,
    measure_again,
    rebuild_model,
    subtract_rows,
)
from monitors.summaries.signals import windows_emptied
from monitors.workflows.services import wake_runs

list_callbacks.provide(plan_callbacks)
days_of_faults.provide(days_of_critical_incidents)
limits_of_people.provide(enabled_rules)
list_later_steps.provide(lambda: STEPS)
list_dependents.provide(dependents_of)
record_event.provide(record_in_feed)
list_active_work.provide(active_work)


@receiver(rows_erased)
def subtract_from_summaries(*, chunk: PredictionChunk, erased: LogFrame, **_: Any) -> None:
    subtract_rows(chunk, erased)


@receiver(windows_emptied)
def forget_emptied(*, model_id: int, role: str, windows: set[tuple[str, datetime, str]], **_: Any) -> None:
    starts: dict[tuple[str, str], list[datetime]] = {}
    for span, start, segment in windows:
        starts.setdefault((span, segment), []).append(start)
    for (span, segment), emptied in starts.items():
        forget_points(model_id, Q(role=role, span=span, start__in=emptied, segment=segment))


@receiver(dataset_rewritten)
def rebuild_references(*, dataset: Dataset, **_: Any) -> None:
    for reference in Reference.objects.filter(dataset=dataset).exclude(state=Reference.State.FAILED):
        rebuild_reference(reference)


@receiver(privacy_changed)
def hide_features(*, model: Model, **_: Any) -> None:
    hide(model)


@receiver(classes_changed)
def judge_classes_again(*, version: Version, **_: Any) -> None:
    build_files_again(version.model)
    rebuild_model(version.model_id, Q(version=version))


@receiver(text_features_changed)
def measure_texts_anew(*, model: Model, **_: Any) -> None:
    build_files_again(model)
    rebuild_model(model.pk)


@receiver(model_created)
def watch_model(*, model: Model, **_: Any) -> None:
    ensure_monitors(model)


@receiver(signature_learnt_again)
def forget_former_kinds(*, version: Version, **_: Any) -> None:
    forget_kinds(version)


@receiver(reference_stored)
def use_reference(*, dataset: Dataset, **_: Any) -> None:
    adopt_reference(dataset=dataset)


@receiver(reference_ready)
def compare_again(*, reference: Reference, **_: Any) -> None:
    measure_again(version_id=reference.version_id, since=reference.since)


@receiver(event_recorded)
def announce_event(*, event: FeedEvent, **_: Any) -> None:
    announce(event)


@receiver(version_created)
def record_new_version(*, version: Version, actor: str, **_: Any) -> None:
    record_version(version, actor)


@receiver(reference_ready)
def record_new_reference(*, reference: Reference, **_: Any) -> None:
    record_reference(reference)


@receiver(deployment_changed)
def record_changed_deployment(*, change: DeploymentChange, **_: Any) -> None:
    record_deployment(change)


@receiver(deployment_changed)
def rebase(*, deployment: Deployment, change: DeploymentChange, **_: Any) -> None:
    former, champion = change.before["champion"], deployment.champion
    if champion is not None and champion.version != former:
        before = deployment.model.versions.filter(version=former).first()
        rebase_reference(model=deployment.model, before=before, after=champion, actor=change.actor)


@receiver(span_changed)
def judge_by_span(*, monitor: Monitor, span: str, **_: Any) -> None:
    if span:
        measure_history(monitor, span)
    follow_monitor(monitor)


@receiver(expectations_changed)
def judge_again(*, model: Model, **_: Any) -> None:
    for version_id in model.versions.values_list("pk", flat=True):
        measure_again(version_id=version_id, since=None)


@receiver(segments_changed)
def look_again(*, model: Model, which: Q | None = None, **_: Any) -> None:
    if which is not None:
        _forget(model, which)
    rebuild_model(model.pk)


@receiver(segments_dropped)
def drop_segments(*, model: Model, which: Q, **_: Any) -> None:
    refuse_while_watched(model=model, which=which)
    _forget(model, which)


@receiver(custom_metrics_changed)
def measure_custom_again(*, model: Model, **_: Any) -> None:
    rebuild_model(model.pk)


@receiver(custom_metric_dropped)
def keep_watched_metric(*, custom: CustomMetric, metric: str, **_: Any) -> None:
    if users := users_of(custom, metric):
        raise Problem(409, "custom_metric_watched", " ".join(users.reasons))


@receiver(custom_points_outdated)
def forget_custom_points(*, custom: CustomMetric, metric: str, **_: Any) -> None:
    forget_feature(custom.model_id, metric, custom.name)


def _forget(model: Model, which: Q) -> None:
    forget_segments(model.pk, which)
    forget_points(model.pk, which)


@receiver(model_judged)
def wake_waiting_runs(*, model: Model, **_: Any) -> None:
    wake_runs(model)


@receiver(rule_deleted)
def end_alert_of(*, rule: Rule, actor: str, **_: Any) -> None:
    end_alert_of_rule(rule=rule, actor=actor, now=now())
