"""Writes of reports and evidence packs that people ask for: a worker builds them (see `building`)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem, invalid
from driftline.base.periods import Period
from driftline.base.work.task_queue import Task, enqueue
from inference.prediction_log.rows_kept import refuse_without_rows
from inference.prediction_log.spool.privacy import DROP, SUMMARY, policy_of
from inference.registry.models import Model, Version
from monitors.definitions.choosing import file_reference
from monitors.definitions.models import Reference
from monitors.reports import files
from monitors.reports.choices import METHODS, presets_of
from monitors.reports.models import UNFINISHED, Preset, Report

MAX_PERIOD = timedelta(days=400)
MAX_UNFINISHED_REPORTS = 10
ACTIVE, PERIOD, NONE = "active", "period", "none"


@dataclass(frozen=True)
class ReportRequest:
    """What a report is to be about.

    `reference` is `active` (the one in use), `none`, `period` (the log's rows of `reference_period`), or the id of one.
    `methods` has Evidently's tests by `num_method`, `cat_method` and `text_method`; what it lacks Evidently chooses.
    """

    period: Period
    preset: str = Preset.DATA_DRIFT
    version: str = ""
    segment: str = ""
    reference: str = ACTIVE
    reference_period: Period | None = None
    methods: dict[str, str] | None = None


def request_report(*, model: Model, wanted: ReportRequest, actor: str) -> Report:
    """Ask for a report by Evidently; raises Problem where it cannot be made."""
    _check_preset(model, wanted)
    check_period("/to", wanted.period)
    _check_segment(model, wanted.segment)
    methods = _methods(wanted)
    version = _version(model, wanted.version)
    reference = _reference(model, version, wanted)
    refuse_without_rows(model, "A report by Evidently")
    return _order(
        model,
        actor,
        action="report.request",
        preset=wanted.preset,
        start=wanted.period.start,
        end=wanted.period.end,
        version=version,
        segment=wanted.segment,
        has_reference=wanted.reference != NONE and (reference is not None or wanted.reference == PERIOD),
        reference=reference,
        reference_start=wanted.reference_period.start if wanted.reference_period else None,
        reference_end=wanted.reference_period.end if wanted.reference_period else None,
        **methods,
    )


def request_evidence(*, model: Model, period: Period, actor: str) -> Report:
    """Ask for an evidence pack of a model in a period; raises Problem where it cannot be made."""
    check_period("/to", period)
    return _order(
        model,
        actor,
        action="evidence.request",
        preset=Preset.EVIDENCE,
        start=period.start,
        end=period.end,
        has_reference=False,
    )


def _order(model: Model, actor: str, *, action: str, **fields: Any) -> Report:
    """Store what a worker is to make; raises Problem where too much waits."""
    with transaction.atomic():
        Model.objects.select_for_update().get(pk=model.pk)  # or two requests at once would both count
        if Report.objects.filter(model=model, state__in=UNFINISHED).count() >= MAX_UNFINISHED_REPORTS:
            raise Problem(
                409,
                "too_many_reports",
                f"{MAX_UNFINISHED_REPORTS} reports of {model.name} are being made; wait for one of them, or delete it.",
            )
        report = Report.objects.create(model=model, created_by=actor, **fields)
        record_audit(
            project=model.project, actor=actor, action=action, subject=model.name, after={"report": report.pk}
        )
        enqueue(Task.LONG_WORK)
    report.refresh_from_db()
    return report


def retry_report(*, report: Report, actor: str) -> None:
    """Schedule a report that failed to be made again; raises Problem `report_not_failed` (409) for any other."""
    with transaction.atomic():
        if not Report.objects.filter(pk=report.pk).failed().begin_again(**AFRESH):
            raise Problem(409, "report_not_failed", "Only a report that failed can be tried again.")
        record_audit(
            project=report.model.project, actor=actor, action="report.retry", subject=report.model.name,
            after={"report": report.pk},
        )  # fmt: skip
        enqueue(Task.LONG_WORK)


AFRESH: dict[str, Any] = {
    "stage": "",
    "progress": 0.0,
    "left_out": [],
    "path": "",
    "size": 0,
}
"""What a report has before anybody begins with it."""


def delete_report(*, report: Report, actor: str) -> None:
    """Delete a report and its files; a worker that is making it stops at its next step."""
    with transaction.atomic():
        found = Report.objects.select_for_update().filter(pk=report.pk).first()
        if found is None:
            return
        found.delete()
        record_audit(
            project=report.model.project, actor=actor, action="report.delete", subject=report.model.name,
            before={"report": report.pk},
        )  # fmt: skip
        found.pk = report.pk
        transaction.on_commit(lambda: files.remove(found))


def forget_old_reports(now: datetime) -> int:
    """Delete reports that are older than they are kept, and files without a report; returns how many reports.

    An evidence pack stays until a person deletes it: its readers decide how long it must be kept.
    """
    count = 0
    if settings.REPORT_RETENTION_DAYS:
        old = Report.objects.filter(created_at__lt=now - timedelta(days=settings.REPORT_RETENTION_DAYS))
        count = old.exclude(state__in=UNFINISHED).exclude(preset=Preset.EVIDENCE).delete()[0]
    files.remove_leftovers()
    return count


# -- what may be asked for ---------------------------------------------------------------------------------------------
def _check_preset(model: Model, wanted: ReportRequest) -> None:
    known = presets_of(model.task)
    if wanted.preset not in known:
        raise invalid(
            "/preset", f"A report of a {model.task} model is one of {', '.join(one.value for one in known)}."
        )


def check_period(pointer: str, period: Period) -> None:
    """Raise Problem (422) for a period that no report can be of."""
    if not period.start < period.end:
        raise invalid(pointer, "The end must lie after the start.")
    if period.end - period.start > MAX_PERIOD:
        raise invalid(pointer, f"A report covers up to {MAX_PERIOD.days} days.")


def _check_segment(model: Model, segment: str) -> None:
    if not segment:
        return
    feature, mark, value = segment.partition(":")
    if not mark and model.segments.filter(name=segment).exists():
        return
    if not (feature and mark and value) or len(segment) > 300:
        raise invalid(
            "/segment", "A segment is feature:value, such as airport:JFK, or the name of a declared one."
        )
    if policy_of(model.privacy, feature) in (DROP, SUMMARY):
        raise invalid("/segment", f"The log keeps no values of {feature!r}; choose another feature.")


def _methods(wanted: ReportRequest) -> dict[str, str]:
    chosen = {field: name for field, name in (wanted.methods or {}).items() if name}
    if chosen and wanted.preset != Preset.DATA_DRIFT:
        raise invalid(f"/{min(chosen)}", f"Tests are chosen for {Preset.DATA_DRIFT} alone.")
    for field, name in chosen.items():
        if name not in METHODS[field]:
            raise invalid(
                f"/{field}", f"{name[:40]!r} is no such test; use one of {', '.join(METHODS[field])}."
            )
    return chosen


def _version(model: Model, name: str) -> Version | None:
    if not name:
        return None
    found = model.versions.filter(version=name).first()
    if found is None:
        raise invalid("/version", f"The model has no version {name[:64]!r}.")
    return found


def _reference(model: Model, version: Version | None, wanted: ReportRequest) -> Reference | None:
    """Find what the window is compared with; None for the log's own rows, and where nothing is asked for or found."""
    if (wanted.reference_period is None) == (wanted.reference == PERIOD):
        raise invalid(
            "/reference_from", "Give reference_from and reference_to with the reference 'period' alone."
        )
    if wanted.reference == NONE and wanted.preset == Preset.DATA_DRIFT:
        raise invalid("/reference", "Drift is measured against a reference; choose one.")
    if wanted.reference == PERIOD:
        assert wanted.reference_period is not None
        check_period("/reference_to", wanted.reference_period)
        return None
    if wanted.reference == NONE:
        return None
    if wanted.reference == ACTIVE:
        found = file_reference(
            model=model, version_id=version.pk if version else model.deployment.champion_id
        )
        if found is None and wanted.preset == Preset.DATA_DRIFT:
            raise Problem(409, "no_reference", "A drift report compares with a reference; upload one first.")
        return found
    number = int(wanted.reference) if wanted.reference.isdecimal() and len(wanted.reference) < 19 else 0
    chosen = model.references.filter(pk=number, dataset__isnull=False).first()
    if chosen is None:
        raise invalid(
            "/reference",
            "Use 'active', 'none', 'period', or the id of a reference of this model that is a file.",
        )
    return chosen
