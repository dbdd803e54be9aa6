"""The sections on the model itself: its purpose, its versions with their origin, and what it was to achieve."""

from typing import Any

from django.conf import settings
from django.db.models import Q, Sum

from inference.registry.models import Dataset, Model
from inference.registry.settings import Objectives
from monitors.definitions.models import Reference
from monitors.metrics.catalogue import title_of
from monitors.reports.evidence.rows import deployment_changes_of, describe_counting, stored_rows
from monitors.reports.evidence.sections import (
    MAX_TABLE_ROWS,
    EvidenceSection,
    EvidenceSubject,
    EvidenceTable,
    table,
)
from monitors.rules.sentences import describe_tree
from monitors.workflows.judging.gate_text import describe_gate
from monitors.workflows.models import Workflow


def purpose(subject: EvidenceSubject) -> EvidenceSection:
    """Describe what the model is for and who answers for it, as it is set when the pack is made."""
    model = subject.model
    facts = [
        ("Name", model.name),
        ("Project", model.project.name),
        ("Task", model.get_task_display()),
        ("Description", model.description),
        ("Owner", model.owner),
        ("Tags", ", ".join(model.tags)),
        ("Created", model.created_at),
        ("Autonomy", model.get_autonomy_display()),
        ("Features that the log protects", model.privacy or None),
        ("Rows kept", model.get_rows_kept_display()),
        ("Days that rows are kept", _days(model.retention_days, settings.RETENTION_DAYS)),
        (
            "Days that summaries are kept",
            _days(model.summary_retention_days, settings.SUMMARY_RETENTION_DAYS),
        ),
    ]
    lacking = [name for name in ("description", "owner") if not getattr(model, name)]
    sentences = [f"The model has no {' and no '.join(lacking)}."] if lacking else []
    return EvidenceSection("purpose", "Purpose and owner", sentences, [_facts("Model", facts)])


def _days(own: int | None, default: int) -> str:
    days = default if own is None else own
    return f"{days:,}" if days else "for ever"


def _facts(title: str, facts: list[tuple[str, Any]]) -> EvidenceTable:
    return table(title, {"name": "What", "value": "Value"}, facts)


def versions(subject: EvidenceSubject) -> EvidenceSection:
    """List the versions with what they come from and what they answered, and each change of what was deployed."""
    model = subject.model
    made = model.versions.order_by("-pk")
    answered = _answered(subject)
    changes = deployment_changes_of(subject)
    champion = model.deployment.champion
    return EvidenceSection(
        "versions",
        "Versions and their origin",
        [
            f"Version {champion.version} is the champion when this pack is made."
            if champion
            else "No version answers when this pack is made.",
            *describe_counting(subject),
        ],
        [
            table(
                "Versions",
                {
                    "version": "Version", "kind": "Kind", "sha256": "SHA-256 of the file", "bytes": "Bytes",
                    "created_at": "Registered", "created_by": "By", "rows": "Rows answered in the period",
                    "lineage": "Origin, as registered",
                },
                (
                    (
                        one.version,
                        "file" if one.has_artifact else "other server" if one.is_remote else "logged from outside",
                        one.sha256 or None,
                        one.size or None,
                        one.created_at,
                        one.created_by,
                        answered.get(one.pk, 0),
                        one.lineage or None,
                    )
                    for one in made[:MAX_TABLE_ROWS]
                ),
                total=made.count(),
            ),
            _datasets(subject),
            _references(subject),
            table(
                "Changes of the deployment",
                {
                    "at": "At", "event_time": "Event time", "kind": "Change", "before": "Before", "after": "After",
                    "actor": "By", "reason": "Reason",
                },
                (
                    (one.at, one.event_time, one.kind, one.before, one.after, one.actor, one.reason)
                    for one in changes[:MAX_TABLE_ROWS]
                ),
                total=changes.count(),
            ),
        ],
    )  # fmt: skip


def _answered(subject: EvidenceSubject) -> dict[int, int]:
    """Count the rows of the period by the version that callers got them from."""
    counts = stored_rows(subject).values("version_id").annotate(total=Sum("rows"))
    return {one["version_id"]: one["total"] for one in counts}


def _datasets(subject: EvidenceSubject) -> EvidenceTable:
    found = Dataset.objects.filter(model=subject.model).order_by("-pk")
    return table(
        "Data sets",
        {
            "id": "Data set", "kind": "Kind", "version": "Version", "sha256": "SHA-256 of the file", "rows": "Rows",
            "start": "From", "end": "To", "created_at": "Stored",
        },
        (
            (
                one.pk, one.get_kind_display(), one.version.version if one.version else None, one.sha256, one.rows,
                one.start, one.end, one.created_at,
            )
            for one in found.select_related("version")[:MAX_TABLE_ROWS]
        ),
        total=found.count(),
    )  # fmt: skip


def _references(subject: EvidenceSubject) -> EvidenceTable:
    """List the references that judge windows of the period."""
    period = subject.period
    found = Reference.objects.filter(
        Q(since=None) | Q(since__lt=period.end),
        Q(until=None) | Q(until__gt=period.start),
        Q(is_active=True) | Q(until__isnull=False),
        model=subject.model,
    ).order_by("-pk")
    return table(
        "References that windows of the period were compared with",
        {
            "id": "Reference", "version": "Version", "what": "What it is", "sha256": "SHA-256 of the file",
            "state": "State", "since": "First window", "until": "Until",
        },
        (
            (
                one.pk, one.version.version, one.description, one.dataset.sha256 if one.dataset else None,
                one.state, one.since, one.until,
            )
            for one in found.select_related("version", "dataset")[:MAX_TABLE_ROWS]
        ),
        total=found.count(),
    )  # fmt: skip


def _objectives(model: Model) -> EvidenceTable:
    """List what the model was to achieve; the names and values of the API are in the JSON."""
    quality = model.objectives.get("quality") or {}
    asked = {name: str(value) for name, value in model.objectives.items()}
    if quality:
        asked["quality"] = f"{title_of(str(quality.get('metric')))}, with the limit {quality.get('floor')}"
    return table(
        "Objectives",
        {"name": "Name in the API", "value": "Value in the API", "objective": "What", "asked": "Value"},
        (
            (name, value, Objectives.model_fields[name].title, asked[name])
            for name, value in model.objectives.items()
        ),
        only_json=("name", "value"),
    )


def objectives(subject: EvidenceSubject) -> EvidenceSection:
    """List what the model was to achieve: its objectives, what is watched, its rules and what its gate asks for."""
    model = subject.model
    rules = model.rules.order_by("name")
    monitors = model.monitors.order_by("kind")
    return EvidenceSection(
        "objectives",
        "Objectives, monitors and rules",
        ["As they are set when this pack is made; the audit extract has their changes in the period."]
        + ([] if model.objectives else ["The model has no objectives."]),
        [
            _objectives(model),
            table(
                "Monitors",
                {
                    "kind": "What", "span": "Windows", "min_rows": "Least rows", "coverage": "Least share of labels",
                    "is_on": "On",
                },
                (
                    (one.get_kind_display(), one.span_text, one.min_rows, one.min_label_coverage, one.enabled)
                    for one in monitors
                ),
            ),
            table(
                "Rules",
                {
                    "name": "Rule", "metric": "Metric", "feature": "Feature or class", "segment": "Segment",
                    "condition": "Condition in the API", "sentence": "Condition", "severity": "Severity",
                    "action": "Action", "owner": "Owner",
                    "runbook": "Runbook", "is_on": "On",
                },
                (
                    (
                        one.name, one.metric, one.feature, one.segment,
                        one.condition or f"{one.operator} {one.threshold:.6g} in {one.asked_windows}",
                        f"{describe_tree(one.tree, one.judged_span)} in {one.asked_windows}",
                        one.severity, one.action, one.owner, one.runbook, one.enabled,
                    )
                    for one in rules[:MAX_TABLE_ROWS]
                ),
                total=rules.count(),
                only_json=("metric", "feature", "segment", "condition"),
            ),
            table(
                "What the gate of a new version asks for",
                {"sentence": "Condition"},
                ((sentence,) for sentence in describe_gate(Workflow.of(model))),
            ),
        ],
    )  # fmt: skip
