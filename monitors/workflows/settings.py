"""How a model is retrained and judged, as callers and configurations write it."""

from typing import Annotated, Any

from pydantic import Field

from driftline.base.http.bodies import Body


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


class WorkflowSettings(Body):
    """How the model is retrained and judged."""

    trainer: str = Field(default="", max_length=100)
    parameters: dict[str, Any] = {}
    training_days: int | None = None
    min_training_rows: int = 0
    memory_mb: int | None = Field(
        default=None, description="that a training may use, in MiB; null: 4096, or all that the machine has"
    )
    pairs: int = 0
    max_pairs: int = 0
    gate: Gate = Field(default_factory=Gate)
    max_runs_a_day: int = 0
    cooldown_hours: int = Field(
        default=0, description="between two starts by rules, a schedule or new labels"
    )
    schedule: str = Field(
        default="", description="cron's five fields, such as 0 3 * * 1; empty starts no run"
    )
    schedule_zone: str = "UTC"
    every_labels: int | None = Field(default=None, description="new labelled rows that start a run")
    on_new_reference: bool = Field(
        default=False, description="whether a reference that replaces the champion's starts a run"
    )
    rollout: RolloutIn = Field(default_factory=RolloutIn)
    remote: dict[str, str] = Field(
        default={},
        max_length=10,
        description="the pipeline that the trainer remote starts: kind, url and the options of the kind",
    )
    training_hours: int = Field(default=24, description="that a pipeline may take")


class WorkflowChanges(WorkflowSettings):
    """The same with the pipeline's secret, which is kept encrypted, never shown, and never part of a configuration."""

    remote_secret: str = Field(
        default="", max_length=4096, description="empty removes it; another url or kind removes it too"
    )
