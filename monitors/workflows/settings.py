"""How a model is retrained and judged, as callers and configurations write it."""

from typing import Annotated, Any

from pydantic import Field

from driftline.base.http.bodies import Body
from monitors.workflows.trainers.launch import MIN_MEMORY_MB, TRAINING_SECONDS

MOST = 10_000_000


class Gate(Body):
    """What a challenger must show; a margin is the loss that still counts as not worse."""

    objective: str = Field(default="", max_length=40)
    margins: dict[str, Annotated[float, Field(ge=0)]] = {}
    min_segment_labelled: int = Field(default=1, ge=1, le=10_000_000)
    p99_ratio: float = Field(default=1.0, ge=1)
    p99_cap_ms: float | None = Field(default=None, gt=0)


class RolloutStepIn(Body):
    """A share of keys that the challenger answers, and the least that has to be seen before the next one."""

    weight: float = Field(gt=0, lt=1)
    seconds: int = Field(default=0, ge=0)
    rows: int = Field(
        default=0, ge=0, description="predictions of the challenger's own, each row of a batch counted"
    )
    requests: int = Field(default=0, ge=0, description="of the challenger's own; a batch is one")


class RolloutIn(Body):
    """How a challenger that passed the gate takes over; without steps at once. It replaces the earlier plan."""

    steps: list[RolloutStepIn] = []
    watch_seconds: int = Field(
        default=0, ge=0, description="after the promotion, with the old champion as reverse shadow"
    )
    max_step_seconds: int = Field(
        default=86_400, ge=1, description="after which a step that did not get what it needs asks a person"
    )
    check_seconds: int = Field(default=15, ge=1, description="between two looks of the guards")
    report_only: list[str] = Field(
        default=[], description="guards that say what they find and change nothing"
    )
    hooks: list[str] = Field(
        default=[], description="webhook channels that are asked before each step and before the promotion"
    )


class TrainingSettings(Body):
    """What a challenger learns from, and what that may take."""

    training_days: int | None = Field(
        default=None,
        ge=1,
        le=MOST,
        title="Train on the newest (days)",
        description=f"Empty: all days that the log has. A training here may take {TRAINING_SECONDS // 60:.0f} minutes.",
    )
    min_training_rows: int = Field(default=1000, ge=1, le=MOST, title="Train on at least (labelled rows)")
    memory_mb: int | None = Field(
        default=None,
        ge=MIN_MEMORY_MB,
        le=MOST,
        title="A training may use (MiB of memory)",
        description="One that needs more fails. Empty: 4,096, or all that the machine has where that is less.",
    )


class StartSettings(Body):
    """What starts a run without a person, and how often."""

    schedule: str = Field(
        default="",
        max_length=100,
        title="Start runs by a schedule",
        description="Minute, hour, day, month and weekday, as cron has them: 0 3 * * 1 is Mondays at 3:00.",
    )
    schedule_zone: str = Field(default="UTC", max_length=64, title="Time zone of the schedule")
    every_labels: int | None = Field(
        default=None,
        ge=1,
        le=MOST,
        title="Start a run after (new labelled rows)",
        description="Of the days after the data of the newest run that trained. Empty: none.",
    )
    on_new_reference: bool = Field(
        default=False, title="Start a run when the champion's reference is replaced"
    )
    max_runs_a_day: int = Field(
        default=1, ge=1, le=MOST, title="Runs that nobody starts by hand, at most (a day)"
    )
    cooldown_hours: int = Field(default=0, ge=0, le=MOST, title="Between two of them, at least (hours)")


class PairSettings(Body):
    """How many answers of both versions a verdict waits for; a pair is one request that both answered."""

    pairs: int = Field(
        default=2000,
        ge=1,
        le=MOST,
        title="First verdict after (labelled pairs)",
        description="A pair is one request that champion and challenger both answered.",
    )
    max_pairs: int = Field(default=6000, ge=1, le=MOST, title="Reject when undecided after (labelled pairs)")


class WorkflowSettings(TrainingSettings, StartSettings, PairSettings):
    """How the model is retrained and judged."""

    trainer: str = Field(default="sklearn_random_forest", max_length=100)
    parameters: dict[str, Any] = {}
    gate: Gate = Field(default_factory=Gate)
    rollout: RolloutIn = Field(default_factory=RolloutIn)
    remote: dict[str, str] = Field(
        default={},
        max_length=10,
        description="the pipeline that the trainer remote starts: kind, url and the options of the kind",
    )
    training_hours: int = Field(
        default=24,
        ge=1,
        le=24 * 30,
        title="A training may take (hours)",
        description="A run fails when its pipeline has sent no model by then.",
    )


class WorkflowChanges(WorkflowSettings):
    """The same with the pipeline's secret, which is kept encrypted, never shown, and never part of a configuration."""

    remote_secret: str = Field(
        default="", max_length=4096, description="empty removes it; another url or kind removes it too"
    )
