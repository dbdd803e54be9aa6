"""What monitoring erases of a subject, once the log is clean: each step may be called again."""

import email
import email.policy
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import unquote

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings
from django.db import models, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from driftline.base.accounts.models import AuditEntry
from driftline.base.durable_files import replacing
from driftline.base.feature import data_removals
from driftline.base.periods import floor, from_us
from driftline.base.work.lease import LeaseLost
from inference.prediction_log.erasure.places.tables import erase_from_tables, rows_of_subject
from inference.prediction_log.erasure.subject import ERASED
from inference.prediction_log.erasure.texts import redact_entries, scrub
from inference.prediction_log.erasure.work import Blocked, Step, Work, add_counts
from inference.prediction_log.models import TouchedPeriod
from inference.registry.models import Model
from monitors.alerts.incidents.handling import forget_alerts
from monitors.alerts.models import Alert, Delivery, DeliveryAttempt, Incident, IncidentEvent
from monitors.annotations.models import Annotation
from monitors.definitions.custom_metrics.services import delete_metric
from monitors.definitions.models import Reference
from monitors.dependents import users_of
from monitors.metrics.store.models import PackedPoints, PendingEvaluation, SegmentSearch, UnreadDay
from monitors.metrics.store.storing import forget_points
from monitors.rules.models import Rule, Transition
from monitors.summaries.erasure import (
    declared_of_subject,
    erase_levels,
    segments_of_subject,
    tell_what_remains,
)
from monitors.summaries.models import StaleWindow
from monitors.summaries.services import apply_label_changes, rebuild_hours
from monitors.workflows.context import run_folder
from monitors.workflows.judging.margins import remove_margin
from monitors.workflows.leases import claim_run
from monitors.workflows.models import ACTIVE_STATES, RemoteTraining, Run
from monitors.workflows.models import Step as RunStep


def rebuild_summaries(work: Work) -> None:
    """Rebuild the hours of the erased rows, and delete the points of segments without rows."""
    days: dict[tuple[int, int, str, datetime], set[datetime]] = {}
    for row in work.subject.rows:
        hour = floor(from_us(row.time_us), "hour")
        days.setdefault((row.model_id, row.version_id, row.role, floor(hour, "day")), set()).add(hour)
    for place, ((model_id, version_id, role, _), hours) in enumerate(sorted(days.items())):
        if place < work.progress.get("day", 0):
            continue
        work.check_deadline()
        _rebuild_day(model_id, version_id, role, sorted(hours))
        work.progress["day"] = place + 1


def _rebuild_day(model_id: int, version_id: int, role: str, hours: list[datetime]) -> None:
    while apply_label_changes(model_id):
        pass
    with transaction.atomic():
        deleted = rebuild_hours(model_id=model_id, version_id=version_id, role=role, hours=hours)
        for span, start, segment in deleted:
            forget_points(model_id, Q(role=role, span=span, start=start, segment=segment))


def erase_points(work: Work) -> None:
    """Delete the points and the rules of a segment that is the subject."""
    for model in work.models:
        named = segments_of_subject(model, work.subject)
        with transaction.atomic():
            points = forget_points(model.pk, Q(segment__in=named))
        rules = _delete_rules(_rules_on(model, named))
        work.count(points=points, rules=rules)


def _rules_on(model: Model, segments: Sequence[str]) -> list[Rule]:
    """List the rules of a model that name one of some segments."""
    may = Rule.objects.filter(Q(segment__in=segments) | Q(condition__isnull=False), model=model)
    return [rule for rule in may.order_by("pk") if any(term.segment in segments for term in rule.terms)]


def _delete_rules(rules: Sequence[Rule]) -> int:
    with transaction.atomic():
        forget_alerts(rules)
        return sum(bool(rule.delete()) for rule in rules)


# -- runs ---------------------------------------------------------------------------------------------------
def erase_from_runs(work: Work) -> None:
    """Take the rows out of what runs are learning from; a run that is being worked on ends its step first, and none
    begins one meanwhile."""
    for run in _active_runs(work):
        lease = claim_run(run.pk)
        if lease is None:
            raise Blocked(f"the present step of {run}")
        try:
            with lease.renewed():
                _erase_from_run(work, run)
        finally:
            with suppress(LeaseLost):
                lease.release()
    stored = RemoteTraining.objects.filter(run__model_id__in=work.subject.model_ids).exclude(parts_url="")
    unneeded = stored.filter(~Q(run__state__in=ACTIVE_STATES) | ~Q(artifact_sha256=""))
    if (training := unneeded.first()) is not None:
        raise Blocked(f"the removal of {training.parts_url}")


def await_runs(work: Work) -> None:
    """Wait for runs that are being worked on: one may be storing rows that were read before they were erased."""
    busy = _active_runs(work).filter(lease_until__gt=Now()).first()
    if busy is not None:
        raise Blocked(f"the present step of {busy}")


def _active_runs(work: Work) -> QuerySet[Run]:
    return Run.objects.filter(model_id__in=work.subject.model_ids, state__in=ACTIVE_STATES)


def _erase_from_run(work: Work, run: Run) -> None:
    for path in sorted(run_folder(run.pk).rglob("*.parquet")):
        _rewrite_training_rows(work, run, path)
    for removal in data_removals():
        removal.erase_from_run(run)


def _rewrite_training_rows(work: Work, run: Run, path: Path) -> None:
    table = pq.read_table(path)
    of_subject = rows_of_subject(table, work.subject, {run.model_id}, by_time_alone=True)
    if of_subject.any():
        with replacing(path) as draft:
            pq.write_table(table.filter(pa.array(~of_subject)), draft, compression="zstd")
        work.count(training_rows=int(of_subject.sum()))


# -- definitions -------------------------------------------------------------------------------------------------------
def erase_segments(work: Work) -> None:
    """Delete the declared segments that are the subject, once nothing goes by their names any more."""
    for model in work.models:
        named = [one.pk for one in declared_of_subject(model, work.subject)]
        work.count(segments=model.segments.filter(pk__in=named).delete()[0])


def erase_custom_metrics(work: Work) -> None:
    """Delete the custom metrics with the key in their name or expression, and their rules and margins."""
    for model in work.models:
        for custom in model.custom_metrics.order_by("pk"):
            if work.subject.is_in(custom.name) or work.subject.is_in(custom.expression):
                rules = _delete_rules(users_of(custom).rules)
                with transaction.atomic():
                    remove_margin(model, custom.name)
                    delete_metric(custom=custom, actor="erasure")
                work.count(rules=rules, custom_metrics=1)


# -- messages and what they are made from ------------------------------------------------------------------------------
def erase_callbacks(work: Work) -> None:
    """Empty the deliveries about jobs with erased rows; what was not sent yet is not sent."""
    deliveries = Delivery.objects.filter(channel__project=work.project, event__startswith="job.").order_by(
        "pk"
    )
    wanted = [f'"prediction_id":{orjson.dumps(id_).decode()}' for id_ in sorted(work.subject.request_ids)]
    for pk, body in deliveries.values_list("pk", "body").iterator(chunk_size=500):
        if any(part in body for part in wanted) or work.subject.is_in(body):
            _empty(work, Delivery.objects.filter(pk=pk))


def _empty(work: Work, delivery: models.QuerySet[Delivery]) -> None:
    with work.fenced() as erasure:
        pending = delivery.filter(state=Delivery.State.PENDING)
        pending.update(state=Delivery.State.SUPPRESSED, reason="The rows that it was about were erased.")
        delivery.update(subject=ERASED, body=ERASED, html="")
        DeliveryAttempt.objects.filter(delivery__in=delivery).update(answer="")
        add_counts(erasure, {"deliveries": 1})


def scrub_texts(work: Work) -> None:
    """Replace the key wherever a sentence or a piece of evidence has it."""
    project = work.project
    scrub(
        work, Delivery.objects.filter(channel__project=project), "subject", "body", "html", "reason", "group"
    )
    scrub(work, DeliveryAttempt.objects.filter(delivery__channel__project=project), "answer")
    scrub(work, Incident.objects.filter(project=project), "title", "causes", "close_reason")
    alerts = Alert.objects.filter(model__project=project)
    scrub(work, alerts, "title", "feature", "segment", "labels", "definition", "detail")
    scrub(work, IncidentEvent.objects.filter(incident__project=project), "text")
    scrub(work, Annotation.objects.filter(model__project=project), "text")
    _erase_links(work)
    scrub(work, Transition.objects.filter(model__project=project), "detail")
    scrub(work, Run.objects.filter(model__project=project), "trigger", "waiting_for", "verdict")
    scrub(work, RunStep.objects.filter(run__model__project=project), "evidence", "error")
    scrub(work, SegmentSearch.objects.filter(model__project=project), "findings", "error")
    scrub(work, Reference.objects.filter(model__project=project), "error")
    for kind in (TouchedPeriod, StaleWindow, UnreadDay, PendingEvaluation):
        scrub(work, kind._default_manager.filter(model__project=project), "error")
    scrub(work, PackedPoints.objects.filter(model__project=project, has_errors=True), "detail", "details")
    redact_entries(work, AuditEntry.objects.filter(project=project))


def _erase_links(work: Work) -> None:
    """Empty the links of annotations that name the key, as it is or in the escapes of an address."""
    for one in Annotation.objects.filter(model__project=work.project).exclude(link="").order_by("pk"):
        if work.subject.is_in(one.link) or work.subject.is_in(unquote(one.link)):
            Annotation.objects.filter(pk=one.pk).update(link="")
            work.count(texts=1)


def erase_mails(work: Work) -> None:
    """Delete the e-mails that were written to files and name the key."""
    if settings.EMAIL_URL:
        return
    for path in sorted(Path(settings.EMAIL_FILE_PATH).glob("*.log")):
        if work.subject.is_in_bytes(path.read_bytes()) or any(map(work.subject.is_in, _texts_of(path))):
            path.unlink(missing_ok=True)
            work.count(mails=1)


def _texts_of(path: Path) -> Iterable[str]:
    """Read the texts of the e-mails in a file, whatever they were encoded in for the way."""
    for content in path.read_bytes().split(b"-" * 79 + b"\n"):
        message = email.message_from_bytes(content, _class=EmailMessage, policy=email.policy.default)
        yield str(message.get("subject", ""))
        for part in message.walk():
            if part.get_content_maintype() == "text":
                yield str(part.get_content())


STEPS: dict[str, Step] = {
    "summaries": rebuild_summaries,
    "levels": erase_levels,
    "remains": tell_what_remains,
    "points": erase_points,
    "segments": erase_segments,
    "custom metrics": erase_custom_metrics,
    "callbacks": erase_callbacks,
    "texts": scrub_texts,
    "mails": erase_mails,
    # Runs copy the rows that they learn from out of stored tables: what they copied before these were clean goes last.
    "busy runs": await_runs,
    "tables": erase_from_tables,
    "runs": erase_from_runs,
}
