"""What people do about a rollout: pause it, resume it, roll it back."""

from django.db import transaction

from driftline.base.accounts.services import record_audit
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.work.task_queue import Task, enqueue
from inference.registry.models import Deployment
from monitors.workflows.ending.finishing import finish
from monitors.workflows.ending.reporting import report_waiting
from monitors.workflows.models import ACTIVE_STATES, Rollout, Run, RunState
from monitors.workflows.rollouts.progress import rollout_of
from monitors.workflows.steps.shadow import PERSON
from monitors.workflows.steps.watch import return_to_old_champion


def pause_rollout(*, run: Run, actor: str) -> Run:
    """Keep the weight as it is until a person resumes the rollout; guards keep looking, and may roll back."""
    with transaction.atomic():
        run, rollout = _locked(run)
        if rollout.state == Rollout.State.WATCHING:
            raise Problem(
                409, "rollout_watched", f"Run {run.pk} has promoted; end the watch or roll it back instead."
            )
        if rollout.state != Rollout.State.PAUSED:
            rollout.state, rollout.paused_by = Rollout.State.PAUSED, actor[:200]
            rollout.save(update_fields=["state", "paused_by"])
            run.state, run.needs = RunState.WAITING, PERSON
            run.waiting_for = f"a person to resume it: paused at {rollout.weight:.1%} by {actor}"[:200]
            run.generation += 1
            run.save(update_fields=["state", "needs", "waiting_for", "generation"])
            report_waiting(run)
            _audit(run, actor, "run.pause")
    return run


def resume_rollout(*, run: Run, actor: str) -> Run:
    """Resume a paused rollout, or end the watch after a promotion.

    What a person paused goes on as planned; what paused by itself takes its next step without waiting for more.
    """
    with transaction.atomic():
        run, rollout = _locked(run)
        if rollout.state == Rollout.State.PROGRESSING:
            raise Problem(
                409, "rollout_not_paused", f"The rollout of run {run.pk} is not paused; it goes on by itself."
            )
        rollout.is_allowed = not rollout.paused_by
        if rollout.state == Rollout.State.PAUSED:
            rollout.state, rollout.paused_by = Rollout.State.PROGRESSING, ""
        rollout.next_check_at, rollout.refusals = now(), 0
        rollout.save(update_fields=["state", "paused_by", "is_allowed", "next_check_at", "refusals"])
        run.state, run.needs, run.waiting_for = RunState.RUNNING, "", ""
        run.generation += 1
        run.save(update_fields=["state", "needs", "waiting_for", "generation"])
        _audit(run, actor, "run.resume")
        enqueue(Task.ADVANCE_RUN, run_id=run.pk)
    return run


def roll_back_run(*, run: Run, actor: str, reason: str = "") -> Run:
    """End a run in the middle of its rollout or watch: the champion of before answers every request again.

    Raises Problem where somebody has made another version the champion meanwhile.
    """
    with transaction.atomic():
        run, rollout = _locked(run)
        reason = reason or f"rolled back by {actor}"
        if rollout.state == Rollout.State.WATCHING:
            return_to_old_champion(run, actor, reason)
        _refuse_other_champion(run)
        finish(run, state=RunState.ROLLED_BACK, actor=actor, reason=reason)
    run.refresh_from_db()
    return run


def _locked(run: Run) -> tuple[Run, Rollout]:
    """Lock an active run that has begun its rollout; raises Problem otherwise."""
    runs = Run.objects.select_for_update(of=("self",)).select_related(
        "model__project", "champion", "challenger"
    )
    locked = runs.get(pk=run.pk)
    rollout = rollout_of(locked)
    if locked.state not in ACTIVE_STATES or rollout is None:
        raise Problem(
            409, "no_rollout", f"Run {locked.pk} is {locked.state} and no rollout of it is under way."
        )
    return locked, rollout


def _refuse_other_champion(run: Run) -> None:
    champion = Deployment.objects.select_related("champion").get(model=run.model).champion
    if champion is not None and champion.pk != run.champion_id:
        raise Problem(
            409,
            "champion_changed",
            f"Version {champion.version} became champion meanwhile, which ends run {run.pk}; "
            "roll the deployment back instead.",
        )


def _audit(run: Run, actor: str, action: str) -> None:
    record_audit(
        project=run.model.project, actor=actor, action=action, subject=f"run {run.pk} of {run.model}"
    )
