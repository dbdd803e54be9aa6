"""What the API answers about runs, and about two versions that answered side by side."""

from collections.abc import Sequence
from typing import Annotated, Any, Self, TypedDict, cast

from driftline.base.http.responses import ResponseBody, Time, one_of
from driftline.base.http.settings_schema import stored_settings, with_settings
from inference.registry.models import Version
from inference.registry.schemas import CanaryOut
from monitors.stats.promotion.gate import GateVerdict
from monitors.workflows.judging.agreement import Agreement, AnswerPair, Differences, Disagreement, Latencies
from monitors.workflows.models import Rollout, Run, RunState, Step, Workflow
from monitors.workflows.rollouts.plan import RolloutPlan
from monitors.workflows.settings import WorkflowSettings


@with_settings(WorkflowSettings)
class WorkflowOut(ResponseBody, frozen=True):
    """How a model is retrained and judged; the secret of its pipeline is never shown, only whether there is one."""

    next_start_at: Time | None
    rollout: RolloutPlan
    has_remote_secret: bool

    @classmethod
    def of(cls, workflow: Workflow) -> Self:
        own = {
            "next_start_at": workflow.next_start_at,
            "rollout": RolloutPlan.parse(workflow.rollout),
            "has_remote_secret": bool(workflow.remote_secret),
        }
        return cls(**stored_settings(WorkflowSettings, workflow) | own)


class StepOut(ResponseBody, frozen=True):
    """One step of a run; what `evidence` holds depends on the step."""

    name: str
    state: Annotated[str, one_of(Step.State)]
    started_at: Time | None
    finished_at: Time | None
    attempts: int
    evidence: dict[str, Any] | None
    error: str | None

    @classmethod
    def of(cls, step: Step) -> Self:
        return cls(
            name=step.name,
            state=step.state,
            started_at=step.started_at,
            finished_at=step.finished_at,
            attempts=step.attempts,
            evidence=step.evidence,
            error=step.error or None,
        )


class WeightOut(TypedDict):
    """A share of keys that the challenger answered from a moment on, and why."""

    at: Time
    weight: float
    reason: str


class GuardOut(TypedDict):
    """What a guard found; `verdict` is pass, fail, inconclusive or no_traffic. A `report_only` one changes nothing."""

    guard: str
    verdict: str
    sentence: str
    value: float | None
    limit: float | None
    unit: str
    report_only: bool


class AnsweredOut(TypedDict):
    """What the challenger had answered in its step at the last look.

    The step ends by the `rows` or `requests` that its plan names. `keys` decide nothing: they are those that it
    answered among the newest 40,000 rows of both sides.
    """

    rows: int
    keys: int
    requests: int


class RepairOut(TypedDict):
    """A metric of the old and the new champion on the same requests after the promotion, labels known.

    `lower` and `upper` bound the difference, new minus old; `verdict` is better, worse or no clear difference.
    """

    metric: str
    higher_is_better: bool
    pairs: int
    old: float
    new: float
    difference: float
    lower: float | None
    upper: float | None
    verdict: str


class RolloutOut(ResponseBody, frozen=True):
    """How far the challenger has taken over: the share that it answers, and what the guards found at the last look.

    `position` counts the steps of the plan from 0; it is their number after the promotion.
    """

    state: Annotated[str, one_of(Rollout.State)]
    plan: RolloutPlan
    position: int
    weight: float
    since: Time
    paused_by: str | None
    next_check_at: Time
    history: list[WeightOut]
    guards: list[GuardOut]
    answered: AnsweredOut | None
    repair: RepairOut | None

    @classmethod
    def of(cls, rollout: Rollout) -> Self:
        return cls(
            state=rollout.state,
            plan=RolloutPlan.parse(rollout.plan),
            position=rollout.position,
            weight=rollout.weight,
            since=rollout.since,
            paused_by=rollout.paused_by or None,
            next_check_at=rollout.next_check_at,
            history=rollout.history,
            guards=(rollout.newest_check or {}).get("guards", []),
            answered=cast(AnsweredOut, rollout.answered) if rollout.answered else None,
            repair=rollout.repair,
        )


class RunOut(ResponseBody, frozen=True):
    """A retrain-and-redeploy run with its steps; `data_until` is the event time up to which it looks at data.

    `needs` says who or what a waiting run waits for, `traffic`, a `person` or a `pipeline`, and `waiting_for` how much
    of it.
    """

    id: int
    state: Annotated[str, one_of(RunState)]
    trigger: str
    model: str
    champion: str
    challenger: str | None
    data_until: Time
    waiting_for: str | None
    needs: str | None
    approved_by: str | None
    verdict: dict[str, Any] | None
    created_at: Time
    finished_at: Time | None
    rollout: RolloutOut | None
    steps: list[StepOut]

    @classmethod
    def of(cls, run: Run) -> Self:
        """Write a run of a queryset that is ready for it: `selectors.runs_of`."""
        return cls(
            id=run.pk,
            state=run.state,
            trigger=run.trigger,
            model=run.model.name,
            champion=run.champion.version,
            challenger=run.challenger.version if run.challenger else None,
            data_until=run.data_until,
            waiting_for=run.waiting_for or None,
            needs=run.needs or None,
            approved_by=run.approved_by or None,
            verdict=run.verdict,
            created_at=run.created_at,
            finished_at=run.finished_at,
            rollout=RolloutOut.of(run.rollout) if hasattr(run, "rollout") else None,
            steps=[StepOut.of(step) for step in sorted(run.steps.all(), key=lambda step: step.position)],
        )


# -- two versions side by side -----------------------------------------------------------------------------------------
class ComparedMetric(TypedDict):
    """A metric of both versions; `lower` and `upper` bound challenger minus champion. Null: it has no value."""

    metric: str
    higher_is_better: bool
    champion: float | None
    challenger: float | None
    difference: float | None
    lower: float | None
    upper: float | None


class ComparedSegment(TypedDict):
    """The metrics of the pairs of one segment."""

    segment: str
    n_labelled: int
    metrics: dict[str, ComparedMetric]


class LabelCoverage(TypedDict):
    """Whether labels came more often for some answers than for others; `found` where they did."""

    coverage: float
    coverage_by_answer: list[float]
    p_value: float | None
    found: bool


class SideCounts(TypedDict):
    """What one side answered, in rows and requests."""

    rows: int
    labelled: int
    requests: int
    failed: int
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    latency_p99_ms_at_least: float | None


class AnswerShares(TypedDict):
    """The share of each side's rows that it answered with one class."""

    answer: str
    champion: float
    challenger: float


class PairedComparisonOut(ResponseBody, frozen=True, tag_field="kind", tag="paired"):
    """What both versions answered to the same requests, and the gate's verdict on it."""

    task: str
    n_pairs: int
    n_labelled: int
    n_blocks: int
    judged_by: str
    confidence: float
    metrics: dict[str, ComparedMetric]
    segments: list[ComparedSegment]
    disagreement: float | None
    only_champion_right: int | None
    only_challenger_right: int | None
    mcnemar_e_value: float | None
    latency_p99_ms_champion: float | None
    latency_p99_ms_challenger: float | None
    latency_p99_ms_challenger_at_least: float | None
    selective_labels: LabelCoverage
    worst_case: dict[str, ComparedMetric] | None
    champion: str
    challenger: str
    since: Time | None
    pairs: int
    labelled: int
    verdict: GateVerdict
    canary: CanaryOut | None


class UnpairedComparisonOut(ResponseBody, frozen=True, tag_field="kind", tag="unpaired"):
    """What a canary and the champion answered to different requests, and the gate's verdict on it."""

    task: str
    champion: str
    challenger: str
    since: Time | None
    until: Time | None
    pairs: int
    labelled: int
    sides: dict[str, SideCounts]
    answers: list[AnswerShares]
    metrics: dict[str, ComparedMetric]
    n_blocks: int
    judged_by: str
    confidence: float
    verdict: GateVerdict
    canary: CanaryOut | None


class AgreementOut(ResponseBody, frozen=True):
    """How two versions answered the same requests, labels or not; `by_day` has day, pairs and those that agreed."""

    champion: str
    challenger: str
    share: float
    pairs: int
    agreed: int
    labelled: int
    start: Time
    end: Time
    answers: list[AnswerPair]
    scored: str
    differences: Differences | None
    latencies: Latencies | None
    by_day: Sequence[Sequence[Time | int]]
    disagreeing: list[Disagreement]

    @classmethod
    def of(cls, champion: Version, challenger: Version, agreement: Agreement) -> Self:
        return cls(
            champion=champion.version,
            challenger=challenger.version,
            share=agreement.share,
            pairs=agreement.pairs,
            agreed=agreement.agreed,
            labelled=agreement.labelled,
            start=agreement.start,
            end=agreement.end,
            answers=agreement.answers,
            scored=agreement.scored,
            differences=agreement.differences,
            latencies=agreement.latencies,
            by_day=agreement.by_day,
            disagreeing=agreement.disagreeing,
        )
