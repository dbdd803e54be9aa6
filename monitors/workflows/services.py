"""Writes of workflows: what a model's workflow is, and the starts, approvals and ends of its runs."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from driftline.accounts.services import record_audit
from driftline.common.clock import now
from driftline.common.errors import Problem, invalid
from driftline.common.periods import floor, following, rfc3339
from driftline.common.strict_json import escape_pointer, printable
from driftline.common.task_queue import Task, enqueue
from inference.data_files.times import time_zones
from inference.prediction_log.queries.selectors import newest_event
from inference.prediction_log.rows_kept import RowsNotKept, refuse_without_rows
from inference.registry.models import Autonomy, Model, ModelTask, Version
from inference.registry.selectors import signature_of
from monitors.metrics.catalogue import QUALITY_METRICS
from monitors.rules.models import Rule, RuleState, Severity, Transition
from monitors.stats.promotion.gate import GatePolicy
from monitors.workflows.finishing import finish
from monitors.workflows.hooks import list_webhooks
from monitors.workflows.margins import check_custom_margins
from monitors.workflows.models import ACTIVE_STATES, Rollout, Run, RunState, Step, Workflow
from monitors.workflows.pairs import JUDGED, count_labelled
from monitors.workflows.remote.settings import check_remote, is_same_receiver, seal_secret
from monitors.workflows.reporting import report_start
from monitors.workflows.rollouts.plan import RolloutPlan
from monitors.workflows.rollouts.services import resume_rollout
from monitors.workflows.steps import STEPS
from monitors.workflows.steps.register import contract_refusal
from monitors.workflows.steps.shadow import PERSON, TRAFFIC, progress, wanted_pairs
from monitors.workflows.trainers.catalogue import REMOTE
from monitors.workflows.trainers.launch import MIN_MEMORY_MB, memory_of_machine_mb
from monitors.workflows.trainers.parameters import find_faults
from monitors.workflows.triggers.new_references import newest_reference
from monitors.workflows.triggers.schedules import BadSchedule, Schedule

COUNTS = ("min_training_rows", "pairs", "max_pairs", "max_runs_a_day")
REMOTE_SETTINGS = ("remote", "remote_secret", "training_hours")
MAX_TRAINING_HOURS = 24 * 30
ROLLOUT_PAUSE_SECONDS = 5.0
"""Between two messages to check a rollout; a model with live traffic is judged more often."""
REST_AFTER_ROLLBACK = timedelta(days=1)
TRIGGERS = ("cooldown_hours", "schedule", "schedule_zone", "every_labels", "on_new_reference")
GATE_SETTINGS = {field.name for field in fields(GatePolicy)} - {"min_labelled", "max_labelled"}


class UnableToStart(Problem):
    """No run can start for this model now."""


# -- the workflow ------------------------------------------------------------------------------------------------------
def configure_workflow(*, model: Model, actor: str, **changes: Any) -> Workflow:
    """Change how a model is retrained and judged; the other settings stay."""
    _check_settings(model, changes)
    if "rollout" in changes:
        changes["rollout"] = checked_rollout(model, changes["rollout"])
    with transaction.atomic():
        workflow, _ = Workflow.objects.select_for_update().get_or_create(model=model)
        secret = changes.pop("remote_secret", None)
        if "remote" in changes:
            changes["remote"] = check_remote(changes["remote"])
        before = {name: getattr(workflow, name) for name in changes}
        _set_secret(workflow, changes.get("remote", workflow.remote), secret)
        for name, value in changes.items():
            setattr(workflow, name, value)
        _check_pipeline(workflow)
        if {"trainer", "parameters"} & changes.keys():
            _check_parameters(workflow)
        if workflow.max_pairs < workflow.pairs:
            raise invalid(
                "/workflow/max_pairs",
                f"max_pairs is {workflow.max_pairs}; use at least pairs, {workflow.pairs}.",
            )
        _set_triggers(workflow, changes)
        workflow.save()
        record_audit(
            project=model.project,
            actor=actor,
            action="workflow.update",
            subject=model.name,
            before=before,
            after=changes if secret is None else {**changes, "remote_secret": "changed"},
        )
    return workflow


def _set_secret(workflow: Workflow, remote: Mapping[str, Any], secret: object) -> None:
    """Keep the secret that was sent; one that is stored stays for the same pipeline, and is never sent to another."""
    if secret is not None:
        workflow.remote_secret = seal_secret(secret, remote)
    elif not is_same_receiver(remote, workflow.remote):
        workflow.remote_secret = b""


def _check_pipeline(workflow: Workflow) -> None:
    if workflow.trainer == REMOTE and not workflow.remote:
        raise invalid(
            "/workflow/remote",
            'The trainer is a pipeline; say which, such as {"kind": "http", "url": "https://train.example.com"}.',
        )


def _check_parameters(workflow: Workflow) -> None:
    for name, fault in find_faults(workflow.trainer, workflow.parameters).items():
        raise invalid(f"/workflow/parameters/{escape_pointer(name)}", fault)


def _check_settings(model: Model, changes: Mapping[str, Any]) -> None:
    plain = ("trainer", "parameters", "training_days", "memory_mb", "gate", "rollout")
    known = {*plain, *REMOTE_SETTINGS, *COUNTS, *TRIGGERS}
    if unknown := sorted(set(changes) - known):
        raise invalid(
            f"/workflow/{unknown[0]}",
            f"{unknown[0][:64]!r} is not a workflow setting; use some of {', '.join(sorted(known))}.",
            "unknown_field",
        )
    if "trainer" in changes and changes["trainer"] not in settings.TRAINERS:
        raise invalid(
            "/workflow/trainer",
            f"{str(changes['trainer'])[:64]!r} is not a trainer here; use one of {', '.join(settings.TRAINERS)}.",
        )
    for name in COUNTS:
        if name in changes:
            _check_count(name, changes[name])
    for name in ("training_days", "every_labels"):
        if changes.get(name) is not None:
            _check_count(name, changes[name])
    if changes.get("memory_mb") is not None:
        _check_memory(changes["memory_mb"])
    if "cooldown_hours" in changes:
        _check_count("cooldown_hours", changes["cooldown_hours"], least=0)
    if "training_hours" in changes:
        _check_count("training_hours", changes["training_hours"], most=MAX_TRAINING_HOURS)
    if not isinstance(changes.get("on_new_reference", False), bool):
        raise invalid("/workflow/on_new_reference", "on_new_reference must be true or false.")
    if not isinstance(changes.get("parameters", {}), dict):
        raise invalid("/workflow/parameters", 'parameters must be an object such as {"trees": 100}.')
    _check_gate(model, changes.get("gate", {}))


def checked_rollout(model: Model, given: object) -> dict[str, Any]:
    """Return a rollout plan as it is stored; raises Problem with a pointer to what is wrong."""
    plan = RolloutPlan.parse(given)
    known = list_webhooks(model.project) if plan.hooks else ()
    for place, name in enumerate(plan.hooks):
        if name not in known:
            raise invalid(
                f"/workflow/rollout/hooks/{place}",
                f"{printable(name)!r} is no webhook channel of this project; "
                + (f"use one of {', '.join(known)}." if known else "add one first."),
            )
    return plan.as_json()


def _set_triggers(workflow: Workflow, changes: Mapping[str, Any]) -> None:
    """Say when the changed schedule is due next, and from when on labelled rows count as new."""
    if workflow.schedule_zone not in time_zones():
        raise invalid(
            "/workflow/schedule_zone",
            f"{workflow.schedule_zone[:64]!r} is no time zone; use a name such as Europe/Berlin.",
        )
    if {"schedule", "schedule_zone"} & changes.keys():
        workflow.next_start_at = None
        if workflow.schedule:
            try:
                schedule = Schedule.parse(workflow.schedule, workflow.schedule_zone)
            except BadSchedule as error:
                raise invalid("/workflow/schedule", str(error)) from error
            workflow.next_start_at = schedule.next_after(now())
    if changes.get("every_labels") is not None and workflow.labels_since is None:
        workflow.labels_since = newest_event(workflow.model) or now()
    if changes.get("on_new_reference"):
        workflow.reference_seen = newest_reference(workflow.model)


def _check_count(name: str, value: object, *, least: int = 1, most: int = 10_000_000) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise invalid(
            f"/workflow/{name}",
            f"{name} is {str(value)[:64]!r}; use a whole number from {least} to {most:,}.",
        )


def _check_memory(megabytes: object) -> None:
    _check_count("memory_mb", megabytes, least=MIN_MEMORY_MB)
    if isinstance(megabytes, int) and megabytes > memory_of_machine_mb():
        raise invalid(
            "/workflow/memory_mb",
            f"memory_mb is {megabytes:,}; this machine has {memory_of_machine_mb():,}. Use less, or train elsewhere.",
        )


def _check_gate(model: Model, gate: object) -> None:
    if not isinstance(gate, dict):
        raise invalid("/workflow/gate", 'gate must be an object such as {"objective": "log_loss"}.')
    if unknown := sorted(set(gate) - GATE_SETTINGS):
        raise invalid(
            f"/workflow/gate/{unknown[0]}",
            f"{unknown[0][:64]!r} is not a setting of the gate; use some of {', '.join(sorted(GATE_SETTINGS))}.",
            "unknown_field",
        )
    objectives = JUDGED.get(model.task, ())
    if "objective" in gate and gate["objective"] not in objectives:
        raise invalid(
            "/workflow/gate/objective",
            f"{str(gate['objective'])[:64]!r} cannot be judged on pairs; use one of {', '.join(objectives)}.",
        )
    check_custom_margins(model, gate.get("margins"))


# -- starting ----------------------------------------------------------------------------------------------------------
def handle_transition(transition_id: int) -> Run | None:
    """Start the run that a transition asks for, within the model's autonomy; handling it twice changes nothing."""
    with transaction.atomic():
        transition = (
            Transition.objects.select_for_update(of=("self",))
            .filter(pk=transition_id, workflows_done_at=None)
            .select_related("rule", "model__project")
            .first()
        )
        if transition is None:
            return None
        run = None
        if _asks_for_run(transition):
            trigger = f"rule {transition.rule.name}"
            run = start_automatic_run(transition.model, trigger, transition=transition)
        Transition.objects.filter(pk=transition.pk).update(workflows_done_at=Now())
    return run


def _asks_for_run(transition: Transition) -> bool:
    return transition.rule.action == Rule.Action.RETRAIN and transition.kind != Transition.Kind.RESOLVED


def start_automatic_run(model: Model, trigger: str, *, transition: Transition | None = None) -> Run | None:
    """Start a run that nobody starts by hand, or write an audit row that says why none was started."""
    try:
        until = newest_data(model, at_least=transition.window_end if transition else None)
        check_automatic(model, until)
        return start_run(
            model=model, trigger=trigger[:200], actor=trigger, data_until=until, transition=transition,
            is_automatic=True,
        )  # fmt: skip
    except UnableToStart as refusal:
        of_transition = {"transition": transition.pk} if transition else {}
        record_audit(
            project=model.project,
            actor=trigger,
            action="run.not_started",
            subject=model.name,
            after={**of_transition, "code": refusal.code, "reason": refusal.detail},
        )
        return None


def check_automatic(model: Model, until: datetime) -> None:
    """Raise UnableToStart where nobody but a person may start a run now."""
    _check_autonomy(model)
    _check_daily_cap(model, until)
    _check_cooldown(model)
    _check_rolled_back(model)


def _check_cooldown(model: Model) -> None:
    hours = Workflow.of(model).cooldown_hours
    automatic = Run.objects.filter(model=model, is_automatic=True).order_by("-created_at")
    newest = automatic.first() if hours else None
    if newest is not None and (ends := newest.created_at + timedelta(hours=hours)) > now():
        raise UnableToStart(
            409,
            "cooldown",
            f"Run {newest.pk} started less than {hours} hours ago; the next may at {rfc3339(ends)}.",
        )


def _check_rolled_back(model: Model) -> None:
    """What was rolled back a day ago would be trained again on nearly the same rows."""
    newest = Run.objects.filter(model=model).order_by("-pk").first()
    if newest is None or newest.state != RunState.ROLLED_BACK or newest.finished_at is None:
        return
    if (ends := newest.finished_at + REST_AFTER_ROLLBACK) > now():
        raise UnableToStart(
            409,
            "rolled_back",
            f"Run {newest.pk} was rolled back; the next starts by itself from {rfc3339(ends)} on, or by hand now.",
        )


def _check_autonomy(model: Model) -> None:
    if model.autonomy == Autonomy.SUGGEST:
        raise UnableToStart(
            409, "suggested_only", f"The autonomy of {model} is 'suggest': a person starts each run."
        )


def newest_data(model: Model, *, at_least: datetime | None = None) -> datetime:
    """The event time up to which a run that starts now may look at data."""
    newest = newest_event(model)
    moments = [moment for moment in (at_least, newest and newest + timedelta(microseconds=1)) if moment]
    if not moments:
        raise UnableToStart(409, "no_predictions", f"{model} has no logged prediction to learn from yet.")
    return max(moments)


def _check_rows_kept(model: Model) -> None:
    try:
        refuse_without_rows(model, "A run")
    except RowsNotKept as refusal:
        raise UnableToStart(refusal.status, refusal.code, refusal.detail) from refusal


def _check_daily_cap(model: Model, until: datetime) -> None:
    """Drift must not retrain in a loop: so many runs a day of event time, those of people not counted."""
    limit = Workflow.of(model).max_runs_a_day
    day = floor(until - timedelta(microseconds=1), "day")
    started = Run.objects.filter(
        model=model, is_automatic=True, data_until__gt=day, data_until__lte=following(day, "day")
    ).count()
    if started >= limit:
        raise UnableToStart(
            409, "daily_cap", f"{started} runs started on {day:%Y-%m-%d}; max_runs_a_day is {limit}."
        )


def _check_data_quality(model: Model, until: datetime) -> None:
    """Do not learn from broken data: a critical data-quality rule that fires in the training window."""
    days = Workflow.of(model).training_days
    firing = RuleState.objects.filter(
        Q(rule__severity=Severity.CRITICAL) | Q(is_critical=True),
        rule__model=model,
        rule__enabled=True,
        standing=RuleState.Standing.FIRING,
    ).select_related("rule")
    for state in firing:
        opened = state.rule.transitions.filter(kind=Transition.Kind.OPENED).order_by("-window_end").first()
        deciding = opened.deciding if opened else state.rule
        if deciding.metric not in (*QUALITY_METRICS, "faulty_features"):
            continue
        begins_inside = opened is None or opened.window_start < until
        ends_inside = (
            days is None or state.judged_until is None or state.judged_until > until - timedelta(days=days)
        )
        if begins_inside and ends_inside:
            raise UnableToStart(
                409,
                "broken_data",
                f"Rule {state.rule.name} says that the data in the training window is broken; mend them first, or turn "
                "the rule off if they are right.",
            )


def check_start(model: Model, data_until: datetime | None = None) -> tuple[Version, datetime]:
    """Return the champion that a run would compare with, and up to when it may look at data; raises UnableToStart."""
    if not Model.objects.filter(pk=model.pk, archived_at=None).exists():
        raise UnableToStart(409, "model_archived", f"{model} is archived; restore it before a run.")
    _check_rows_kept(model)
    champion = _champion(model)
    until = data_until or newest_data(model)
    _check_data_quality(model, until)
    if Run.objects.filter(model=model, state__in=ACTIVE_STATES).exists():
        raise _run_active(model)
    return champion, until


def _run_active(model: Model) -> UnableToStart:
    return UnableToStart(409, "run_active", f"{model} has a run under way; wait for it or cancel it.")


def start_run(
    *,
    model: Model,
    trigger: str,
    actor: str,
    data_until: datetime | None = None,
    transition: Transition | None = None,
    version: str = "",
    request_key: str = "",
    is_automatic: bool = False,
) -> Run:
    """Start a run for a model that has none under way; raises UnableToStart with the reason otherwise.

    With a `version` that was made elsewhere nothing is trained: the run begins at the shadow. A second start with the
    same `request_key` gives the first one's run.
    """
    if earlier := _started_before(model, request_key, version):
        return earlier
    champion, until = check_start(model, data_until)
    challenger = _challenger(model, champion, version) if version else None
    try:
        with transaction.atomic():
            Workflow.objects.get_or_create(model=model)
            run = Run.objects.create(
                model=model, transition=transition, trigger=trigger, data_until=until, champion=champion,
                challenger=challenger, request_key=request_key, is_automatic=is_automatic,
            )  # fmt: skip
            Step.objects.bulk_create(_steps_of(run))
            record_audit(
                project=model.project,
                actor=actor,
                action="run.start",
                subject=f"run {run.pk} of {model}",
                after={"trigger": trigger, "champion": champion.version, "challenger": version or None},
            )
            report_start(run, actor=actor)
            enqueue(Task.ADVANCE_RUN, run_id=run.pk)
    except IntegrityError as error:
        if earlier := _started_before(model, request_key, version):
            return earlier
        raise _run_active(model) from error
    return run


def _started_before(model: Model, request_key: str, version: str) -> Run | None:
    """Find the run that a request with this key started; the key must not stand for another request."""
    run = Run.objects.filter(model=model, request_key=request_key).first() if request_key else None
    if run is not None and _brought_version(run) != version:
        raise Problem(
            422,
            "idempotency_key_reused",
            f"This Idempotency-Key started run {run.pk} with another body; use a new key for a new request.",
        )
    return run


def _brought_version(run: Run) -> str:
    """Return the version that came along instead of being trained by the run; empty of the others."""
    is_brought = run.steps.filter(name="register", state=Step.State.SKIPPED).exists() and run.challenger
    return run.challenger.version if is_brought and run.challenger else ""


def _steps_of(run: Run) -> list[Step]:
    """List a run's steps; those that make a challenger are skipped where it has one."""
    first = list(STEPS).index("shadow") if run.challenger else 0
    return [
        Step(
            run=run,
            position=position,
            name=name,
            state=Step.State.PENDING if position >= first else Step.State.SKIPPED,
        )
        for position, name in enumerate(STEPS)
    ]


def _challenger(model: Model, champion: Version, name: str) -> Version:
    """Find the version that a run shall compare, if it could take the champion's place."""
    version = model.versions.filter(version=name).first()
    if version is None:
        raise invalid("/version", f"{model.name} has no version {name[:64]!r}; upload it first.")
    if version.pk == champion.pk:
        raise invalid("/version", f"Version {name} is the champion; name the version to compare with it.")
    if not version.has_artifact or version.archived_at is not None:
        raise invalid(
            "/version", f"Version {name} has no artifact here that could answer; upload it as ONNX."
        )
    if refused := contract_refusal(champion, version):
        raise invalid("/version", f"{refused}.")
    return version


def _champion(model: Model) -> Version:
    """The version to beat, if a challenger could take its place."""
    champion = model.deployment.champion
    if champion is None:
        raise UnableToStart(409, "no_champion", f"{model} has no champion; upload a version first.")
    signature = signature_of(champion)
    if not champion.has_artifact or signature is None:
        raise UnableToStart(
            409,
            "version_has_no_artifact",
            f"Another server answers for {model}; upload the ONNX of version {champion.version} to retrain it here.",
        )
    if signature.task not in JUDGED:
        raise UnableToStart(409, "task_not_trainable", f"No trainer here knows the task {signature.task!r}.")
    if signature.task != ModelTask.REGRESSION and not signature.probabilities_output:
        raise UnableToStart(
            409,
            "champion_without_probabilities",
            f"Version {champion.version} gives no probabilities, which the gate compares; upload one that does.",
        )
    return champion


# -- people ------------------------------------------------------------------------------------------------------------
def approve(*, run: Run, actor: str) -> Run:
    """Let a run that waits for a person go on, be it with its rollout."""
    if Rollout.objects.filter(run=run, state=Rollout.State.PAUSED).exists():
        return resume_rollout(run=run, actor=actor)
    with transaction.atomic():
        run = _locked(run)
        if run.needs != PERSON:
            raise Problem(
                409, "not_waiting_for_person", f"Run {run.pk} is {run.state}; nobody has to approve it now."
            )
        run.approved_by, run.state, run.needs, run.waiting_for = actor[:200], RunState.RUNNING, "", ""
        run.generation += 1
        run.save(update_fields=["approved_by", "state", "needs", "waiting_for", "generation"])
        record_audit(
            project=run.model.project,
            actor=actor,
            action="run.approve",
            subject=f"run {run.pk} of {run.model}",
        )
        enqueue(Task.ADVANCE_RUN, run_id=run.pk)
    return run


def reject(*, run: Run, actor: str, reason: str = "") -> Run:
    """End a run because a person does not want its challenger."""
    return _end(run, RunState.REJECTED, actor, reason or "rejected by a person")


def cancel(*, run: Run, actor: str, reason: str = "") -> Run:
    """End a run, whatever it is doing: its worker finds the lease gone and stops within seconds."""
    return _end(run, RunState.CANCELLED, actor, reason or "cancelled by a person")


def _end(run: Run, state: RunState, actor: str, reason: str) -> Run:
    with transaction.atomic():
        run = _locked(run)
        if Rollout.objects.filter(run=run, state=Rollout.State.WATCHING).exists():
            raise Problem(
                409,
                "rollout_watched",
                f"Run {run.pk} has promoted its challenger; roll it back, or resume it to end the watch.",
            )
        finish(run, state=state, actor=actor, reason=reason)
    run.refresh_from_db()
    return run


def _locked(run: Run) -> Run:
    run = Run.objects.select_for_update(of=("self",)).select_related("model__project").get(pk=run.pk)
    if run.state not in ACTIVE_STATES:
        raise Problem(409, "run_finished", f"Run {run.pk} is {run.get_state_display().lower()} already.")
    return run


# -- waking ------------------------------------------------------------------------------------------------------------
def wake_runs(model: Model) -> None:
    """Let the model's run go on if the pairs that it waits for have come; one indexed count, and a task if so.

    A rollout is checked too once its next check is due, as a full queue would make it wait for a sweep.

    To be called in the transaction that makes new labels count, so that no moment looks finished in between.
    """
    for run in Run.objects.filter(model=model, state=RunState.WAITING, needs=TRAFFIC).select_related(
        "model", "champion", "challenger"
    ):
        _wake(run)
    due = Rollout.objects.filter(run__model=model, run__state__in=ACTIVE_STATES, next_check_at__lte=Now())
    for run_id in due.values_list("run", flat=True):
        enqueue(Task.ADVANCE_RUN, pause_seconds=ROLLOUT_PAUSE_SECONDS, run_id=run_id)


def _wake(run: Run) -> None:
    step = run.steps.filter(state=Step.State.WAITING, name__in=("shadow", "gate")).first()
    if step is None:
        return  # its worker has just moved on, or it looks again by itself
    wanted = step.evidence["wanted"]
    compared = wanted_pairs(run, run.steps.get(name="shadow").evidence["since"])
    found = count_labelled(compared)
    waits = Run.objects.filter(pk=run.pk, state=RunState.WAITING, needs=TRAFFIC)
    if found < wanted:
        text = progress(found, wanted, compared.label_lag)
        waits.exclude(waiting_for=text).update(waiting_for=text)
    elif waits.update(state=RunState.RUNNING, needs="", waiting_for="", generation=F("generation") + 1):
        enqueue(Task.ADVANCE_RUN, run_id=run.pk)
