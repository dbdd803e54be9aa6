"""The step `check_labels`: see whether the newest labels come as labels always came, before anything learns."""

from datetime import date, datetime, timedelta

import pyarrow.compute as pc
import pyarrow.parquet as pq

from driftline.base.periods import day_of
from inference.registry.files.datasets import path_of
from inference.registry.models import Dataset
from monitors.workflows.context import Evidence, RunContext, StepOutcome, done, waiting
from monitors.workflows.judging.label_jumps import (
    Days,
    LabelJump,
    count_labels,
    days_of,
    evidence_of,
    find_jumps,
    not_yet_approved,
)
from monitors.workflows.models import Run
from monitors.workflows.steps.shadow import PERSON

NEWEST = timedelta(days=7)


def check_labels(context: RunContext) -> StepOutcome:
    """Wait for a person, whatever the autonomy, when a class, a token or the labels' number jumped."""
    approved_by = context.run.approved_by
    if approved_by and "jumps" in context.step.evidence:
        return done({"approved_by": approved_by}, effect=use_up_approval)
    until = context.run.data_until
    jumps = new_jumps(context, until=until, since=(until - NEWEST).date())
    evidence = {"newest_days": NEWEST.days, "jumps": evidence_of(jumps)}
    if jumps:
        return waiting(question(jumps), needs=PERSON, evidence=evidence)
    return done(evidence)


def new_jumps(context: RunContext, *, until: datetime, since: date) -> list[LabelJump]:
    """The jumps of the labels from `since` on that no person has approved yet."""
    counts = count_labels(
        context.model, context.signature, until=until, since=since, reference=_reference_labels(context)
    )
    return not_yet_approved(context.model, find_jumps(counts, context.signature, since=since))


def question(jumps: list[LabelJump]) -> str:
    """Return what a person has to judge, as long as a run's line may be."""
    return f"a person to judge the labels: {jumps[0].sentence}"[:200]


def use_up_approval(run: Run) -> Evidence:
    """Forget an approval: who trusts the labels, say, has not yet approved what comes next."""
    run.approved_by = ""
    run.save(update_fields=["approved_by"])
    return {}


def _reference_labels(context: RunContext) -> Days:
    """The labels that the champion was first trained on, by day: history for a log that is still short."""
    dataset = context.evidence_of("snapshot").get("dataset")  # a challenger that was brought along has none
    if context.signature.task == "regression" or dataset is None:
        return {}
    snapshot = Dataset.objects.get(pk=dataset)
    table = pq.read_table(path_of(snapshot), columns=["timestamp", "label", "version_id"])
    table = table.filter(pc.is_null(table["version_id"]))
    times = table["timestamp"].to_pylist()
    return days_of(
        (day_of(time), label) for time, label in zip(times, table["label"].to_pylist(), strict=True)
    )
