"""Starts runs: by a rule, a schedule, new labels or a person, where nothing speaks against it."""

from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from driftline.base.accounts.services import record_audit
from driftline.base.clock import now
from driftline.base.errors import Problem, invalid
from driftline.base.periods import floor, following, rfc3339
from driftline.base.work.task_queue import Task, enqueue
from inference.prediction_log.queries.selectors import newest_event
from inference.prediction_log.rows_kept import RowsNotKept, refuse_without_rows
from inference.registry.models import Autonomy, Model, ModelTask, Version
from inference.registry.selectors import signature_of
from monitors.metrics.catalogue import QUALITY_METRICS
from monitors.rules.models import Rule, RuleState, Severity, Transition
from monitors.workflows.ending.reporting import report_start
from monitors.workflows.judging.pairs import JUDGED
from monitors.workflows.models import ACTIVE_STATES, Run, RunState, Step, Workflow
from monitors.workflows.steps import STEPS
from monitors.workflows.steps.register import contract_refusal

REST_AFTER_ROLLBACK = timedelta(days=1)


class UnableToStart(Problem):
    """No run can start for this model now."""


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
