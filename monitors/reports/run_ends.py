"""How runs ended, by whom and why."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from driftline.base.accounts.models import AuditEntry
from monitors.workflows.models import ACTIVE_STATES, Run, RunState

_ENDS = {f"run.{state}": state for state in RunState if state not in ACTIVE_STATES}


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


def recorded_end(run: Run) -> RunState | None:
    """Return how a run ended by the audit trail; None where that has no end of it."""
    entries = AuditEntry.objects.filter(project=run.model.project, subject=str(run), action__in=_ENDS)
    last = entries.order_by("pk").last()
    return _ENDS[last.action] if last else None
