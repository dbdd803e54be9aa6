"""The section with the extract of the audit trail, and the ends of the hash chain that it is part of."""

from typing import Any

from django.conf import settings
from django.db.models import F, Func, Q, QuerySet, TextField, Value

from driftline.base.accounts.audit.chain import read_anchor
from driftline.base.accounts.audit.trail import chain_state
from driftline.base.accounts.models import AuditEntry
from inference.registry.models import Model
from monitors.alerts.models import Incident
from monitors.reports.evidence.reactions import entries_of_runs, incidents_of, runs_of
from monitors.reports.evidence.sections import MAX_TABLE_ROWS, EvidenceSection, EvidenceSubject, table
from monitors.workflows.models import Run

MAX_CHANGE_CHARACTERS = 2_000
"""Characters of what an entry changed; a longer change is left to the trail itself."""

_NAMED_APART = (
    "audit", "channel", "configuration", "delivery", "device", "device_group", "import", "incident", "member",
    "membership", "project", "registry", "role", "routing", "rule", "run", "silence", "source", "team", "token", "user",
)  # fmt: skip
"""The kinds of entries of which the subject is no model and none of its parts, although it may be called like one."""


def audit(subject: EvidenceSubject) -> EvidenceSection:
    """List the entries of the period that are about the model, the newest where they are too many, and the chain."""
    found = _entries(subject)
    newest = list(found.order_by("-pk")[:MAX_TABLE_ROWS])[::-1]
    return EvidenceSection(
        "audit",
        "Extract of the audit trail",
        [
            _chain(subject),
            "The extract has the entries on the model and its parts, rules, runs, incidents and silences. Times are of "
            "the wall clock. The trail as a whole is exported on the page Audit; "
            "`manage.py verify_audit --expect NUMBER:HASH` says whether an entry of this list is still there.",
        ],
        [
            table(
                "Entries",
                {
                    "number": "Number", "at": "At", "actor": "By", "action": "Action", "subject": "On",
                    "before": "Before", "after": "After", "hash": "Hash",
                },
                (
                    (
                        one.number, one.at, one.actor, one.action, one.subject, _short(one.before), _short(one.after),
                        one.hash or None,
                    )
                    for one in newest
                ),
                total=found.count(),
            ),
        ],
    )  # fmt: skip


def _entries(subject: EvidenceSubject) -> QuerySet[AuditEntry]:
    period = subject.period
    runs, incidents = runs_of(subject), incidents_of(subject)
    of_period = Q(at__gte=period.start, at__lt=period.end) | _of_runs(runs) | _of_incidents(incidents)
    kind, first_word = (
        Func(F(field), Value(mark), Value(1), function="split_part", output_field=TextField())
        for field, mark in (("action", "."), ("subject", " "))
    )
    entries = AuditEntry.objects.filter(project=subject.model.project)
    return entries.annotate(kind=kind, first_word=first_word).filter(_about(subject.model) & of_period)


def _about(model: Model) -> Q:
    """Select the entries about a model: those that name it, and those on what it alone has.

    A rule, and whatever has a name of its own, may be called as a model is, or as another model's rule.
    """
    name = model.name
    of_name = Q(subject__in=[name, str(model)]) | Q(subject__endswith=f" of {name}")
    of_parts = Q(subject__startswith=f"{name} ") | Q(subject__startswith=f"{name}/")
    of_rules = Q(kind="rule") & (Q(before__model=model.pk) | Q(after__model=model.pk))
    of_silences = Q(kind="silence", after__model=name)
    runs, incidents = Run.objects.filter(model=model), Incident.objects.filter(model=model)
    return (
        (~Q(kind__in=_NAMED_APART) & (of_name | of_parts))
        | of_rules
        | of_silences
        | Q(kind="run", subject=name)  # one that was not started
        | entries_of_runs(model)
        | _of_runs(runs)
        | _of_incidents(incidents)
    )


def _of_runs(runs: QuerySet[Run]) -> Q:
    """Select the entries of some runs, whenever they were written."""
    found = list(runs.values_list("pk", "model__name"))
    return Q(kind="run", subject__in=[f"run {pk} of {name}" for pk, name in found]) | Q(
        correlation__in=[f"run-{pk}" for pk, _ in found]
    )


def _of_incidents(incidents: QuerySet[Incident]) -> Q:
    """Select what people did about some incidents, whenever that was."""
    keys = incidents.values_list("pk", flat=True)
    return Q(kind="incident", first_word__in=[f"INC-{pk}" for pk in keys])


def _chain(subject: EvidenceSubject) -> str:
    """Return where the chain ends and whether it holds."""
    head = AuditEntry.objects.exclude(number=None).order_by("-number").values_list("number", "hash").first()
    if head is None:
        return "No entry is in the hash chain yet."
    state = chain_state(settings.HOME, now=subject.now)
    holds = {
        True: "It held when it was last checked",
        False: f"IT DOES NOT HOLD: {state.fault}",
        None: "It is too long to be checked here; `manage.py verify_audit` does that",
    }[state.holds]
    try:
        anchor = read_anchor(settings.HOME)
    except (ValueError, KeyError):
        anchor = None
    kept = f"; this home's own note of the end is entry {anchor.number}:{anchor.hash}" if anchor else ""
    return f"The chain over the whole installation ends with entry {head[0]}:{head[1]}{kept}. {holds}."


def _short(change: Any) -> Any:
    return change if len(str(change)) <= MAX_CHANGE_CHARACTERS else "too long for this extract"
