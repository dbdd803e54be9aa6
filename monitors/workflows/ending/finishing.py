"""The end of a run: its state, its share of the traffic, its folder, its audit row."""

import shutil

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from driftline.base.accounts.services import record_audit
from monitors.workflows.context import run_folder
from monitors.workflows.ending.reporting import report_end
from monitors.workflows.models import Run, RunState, Step
from monitors.workflows.rollouts.progress import end_rollout
from monitors.workflows.signals import run_ended


def finish(run: Run, *, state: RunState, actor: str, reason: str) -> None:
    """End a run whose row the caller has locked; whoever leased it finds the lease gone and stops."""
    run.state, run.finished_at = state, Now()
    run.waiting_for, run.needs = "", ""
    run.lease_token, run.lease_until = None, None
    run.save(update_fields=["state", "finished_at", "waiting_for", "needs", "lease_token", "lease_until"])
    open_steps = Q(state__in=[Step.State.PENDING, Step.State.RUNNING, Step.State.WAITING])
    run.steps.filter(open_steps).update(state=Step.State.SKIPPED)
    end_rollout(run, reason)
    run_ended.send(sender=Run, run=run)
    record_audit(
        project=run.model.project,
        actor=actor,
        action=f"run.{state}",
        subject=f"run {run.pk} of {run.model}",
        after={"reason": reason, "challenger": run.challenger.version if run.challenger else None},
    )
    report_end(run, actor=actor, reason=reason)
    transaction.on_commit(lambda: shutil.rmtree(run_folder(run.pk), ignore_errors=True))
