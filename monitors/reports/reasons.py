"""Which comparison each reason of a run belongs to, in the words of the pages, and what was decided in the end."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from driftline.accounts.models import AuditEntry
from monitors.metrics.catalogue import METRICS
from monitors.stats.promotion.gate import part_reasons
from monitors.workflows.margins import CUSTOM_PREFIX
from monitors.workflows.models import ACTIVE_STATES, Run

HELD_OUT = "Held-out rows, before the shadow"
LIVE = "Shadow on live requests, labelled pairs"
WORST_CASE = "Shadow on live requests, each missing label at its worst for the challenger"
_METRIC = re.compile(rf"(^|: |metric |objective )({re.escape(CUSTOM_PREFIX)}|[a-z0-9_]+(?= ))")


@dataclass(frozen=True)
class Reason:
    """One sentence on a challenger, and the rows that it is drawn from."""

    comparison: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.comparison}: {self.sentence}"


def reasons_of_verdict(verdict: Mapping[str, Any]) -> list[Reason]:
    """List each reason of a gate's verdict once."""
    live, worst_case = part_reasons([str(one) for one in verdict.get("reasons") or ()])
    return [
        *(Reason(LIVE, with_titles(sentence)) for sentence in live),
        *(Reason(WORST_CASE, with_titles(sentence)) for sentence in worst_case),
    ]


def reasons_of_validation(run: Run) -> list[Reason]:
    """List what the held-out rows showed; nothing where they were not judged."""
    step = next((one for one in run.steps.all() if one.name == "validate"), None)
    sentences = (step.evidence.get("reasons") if step else None) or ()
    return [Reason(HELD_OUT, with_titles(str(one))) for one in sentences]


def with_titles(sentence: str) -> str:
    """Write the metrics that a sentence names as pages do."""
    return _METRIC.sub(lambda found: found[1] + _title(found[2]), sentence)


def _title(name: str) -> str:
    if name == CUSTOM_PREFIX:
        return ""
    return METRICS[name].title if name in METRICS else name


@dataclass(frozen=True)
class RunEnd:
    """How a run ended, by whom and why; of one that has not ended, what it waits for."""

    run: Run
    entry: AuditEntry | None

    @property
    def actor(self) -> str:
        return self.entry.actor if self.entry else ""

    @property
    def reason(self) -> str:
        if self.entry is None:
            return f"waits for {self.run.waiting_for}" if self.run.waiting_for else ""
        return str((self.entry.after or {}).get("reason") or "")

    def __str__(self) -> str:
        state = self.run.state.replace("_", " ")
        is_by_itself = self.actor == f"run {self.run.pk}"
        by = f" by {self.actor}" if self.actor and not is_by_itself else ""
        verb = "is" if self.run.state in ACTIVE_STATES else "failed" if state == "failed" else "was"
        return (
            f"Run {self.run.pk} {verb} {'' if verb == 'failed' else state}".rstrip()
            + by
            + (f": {self.reason.rstrip('.')}" if self.reason else "")
            + "."
        )


def ends_of(runs: Iterable[Run]) -> Iterator[RunEnd]:
    """Read from the audit trail why each run ended as it did."""
    runs = list(runs)
    ended = {str(run): run for run in runs if run.state not in ACTIVE_STATES}
    entries = AuditEntry.objects.filter(
        project__in={run.model.project_id for run in runs}, subject__in=ended, action__startswith="run."
    ).order_by("pk")
    found = {entry.subject: entry for entry in entries if entry.action == f"run.{ended[entry.subject].state}"}
    for run in runs:
        yield RunEnd(run, found.get(str(run)))
