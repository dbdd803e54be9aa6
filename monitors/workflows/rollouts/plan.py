"""The plan of a rollout: which shares a challenger answers one after the other, for how long, and what is judged."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from driftline.base.errors import invalid

MAX_STEPS = 20
MAX_HOOKS = 5
MAX_NAME_LENGTH = 100
MAX_SECONDS = 30 * 86_400
MAX_COUNT = 100_000_000
MIN_CHECK_SECONDS, MAX_CHECK_SECONDS = 1, 3_600
HOUR, DAY = 3_600, 86_400
POINTER = "/workflow/rollout"


class Guard(StrEnum):
    """What is judged at each check of a rollout."""

    FAILURES = "failures"
    NOT_FINITE = "not_finite"
    LATENCY = "latency"
    CLASS_SHARES = "class_shares"
    SCORES = "scores"
    SPLIT = "split"
    QUALITY = "quality"


@dataclass(frozen=True)
class PlannedStep:
    """A share `weight` of the keys, and the least that has to be seen before the next one.

    `rows` are predictions of the challenger's own, however many of them come in one request; of `requests` a batch is
    one.
    """

    weight: float
    seconds: int = 0
    rows: int = 0
    requests: int = 0


@dataclass(frozen=True)
class RolloutPlan:
    """The steps before the promotion, and how long the old champion is a shadow after it; without steps all at once.

    A step that has not got what it needs after `max_step_seconds` pauses and asks a person. Guards in `report_only` say
    what they find and change nothing. `hooks` names webhook channels that are asked before each step and before the
    promotion.
    """

    steps: tuple[PlannedStep, ...] = ()
    watch_seconds: int = 0
    max_step_seconds: int = DAY
    check_seconds: int = 15
    report_only: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()

    @classmethod
    def parse(cls, given: object) -> Self:
        """Read a plan; raises Problem with a pointer to what is wrong. What is not given has its default."""
        fields = _object(given, POINTER, cls())
        steps = _list(fields.get("steps", []), f"{POINTER}/steps", MAX_STEPS)
        plan = cls(
            steps=tuple(_step(one, f"{POINTER}/steps/{place}") for place, one in enumerate(steps)),
            watch_seconds=_whole(fields, "watch_seconds", 0, MAX_SECONDS, 0),
            max_step_seconds=_whole(fields, "max_step_seconds", 1, MAX_SECONDS, DAY),
            check_seconds=_whole(fields, "check_seconds", MIN_CHECK_SECONDS, MAX_CHECK_SECONDS, 15),
            report_only=_guards(fields.get("report_only", [])),
            hooks=_hooks(fields.get("hooks", [])),
        )
        plan._check_steps()
        return plan

    def _check_steps(self) -> None:
        for place, step in enumerate(self.steps):
            pointer = f"{POINTER}/steps/{place}"
            if place and step.weight <= self.steps[place - 1].weight:
                raise invalid(
                    f"{pointer}/weight",
                    f"The weight falls from {self.steps[place - 1].weight:g} to {step.weight:g}; let each step have a "
                    "larger weight than the one before.",
                )
            if step.seconds > self.max_step_seconds:
                raise invalid(
                    f"{pointer}/seconds",
                    f"The step lasts {step.seconds:,} seconds, and after max_step_seconds, {self.max_step_seconds:,}, "
                    "it would ask a person; raise max_step_seconds.",
                )

    def as_json(self) -> dict[str, Any]:
        """Write it as `parse` reads it."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }


def staged_plan() -> dict[str, Any]:
    """Return the plan of a new model: an hour and 1,000 rows each at 5%, 25% and 50%, then a day of watching."""
    steps = tuple(PlannedStep(weight, HOUR, 1_000) for weight in (0.05, 0.25, 0.5))
    return RolloutPlan(steps=steps, watch_seconds=DAY).as_json()


def _step(given: object, pointer: str) -> PlannedStep:
    fields = _object(given, pointer, PlannedStep(0.5))
    weight = fields.get("weight")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < 1:
        raise invalid(
            f"{pointer}/weight",
            f"The weight is {str(weight)[:64]!r}; use a number above 0 and below 1, such as 0.05. The promotion after "
            "the last step is the whole.",
        )
    return PlannedStep(
        float(weight),
        _whole(fields, "seconds", 0, MAX_SECONDS, 0, pointer),
        _whole(fields, "rows", 0, MAX_COUNT, 0, pointer),
        _whole(fields, "requests", 0, MAX_COUNT, 0, pointer),
    )


def _object(given: object, pointer: str, example: object) -> Mapping[str, Any]:
    known = sorted(asdict(example))  # type: ignore[call-overload]
    if not isinstance(given, Mapping):
        raise invalid(pointer, f"Use an object with some of {', '.join(known)}.")
    if unknown := sorted(set(given) - set(known)):
        raise invalid(
            f"{pointer}/{str(unknown[0])[:64]}",
            f"{str(unknown[0])[:64]!r} is not known here; use some of {', '.join(known)}.",
            "unknown_field",
        )
    return given


def _list(given: object, pointer: str, longest: int) -> list[Any]:
    if not isinstance(given, list) or len(given) > longest:
        raise invalid(pointer, f"Use a list of at most {longest} entries.")
    return given


def _whole(
    fields: Mapping[str, Any], name: str, least: int, most: int, default: int, pointer: str = POINTER
) -> int:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise invalid(
            f"{pointer}/{name}",
            f"{name} is {str(value)[:64]!r}; use a whole number from {least:,} to {most:,}.",
        )
    return value


def _guards(given: object) -> tuple[str, ...]:
    names = _list(given, f"{POINTER}/report_only", len(Guard))
    for place, name in enumerate(names):
        if name not in list(Guard):
            raise invalid(
                f"{POINTER}/report_only/{place}",
                f"{str(name)[:64]!r} is no guard; use some of {', '.join(Guard)}.",
            )
    return tuple(dict.fromkeys(names))


def _hooks(given: object) -> tuple[str, ...]:
    names = _list(given, f"{POINTER}/hooks", MAX_HOOKS)
    for place, name in enumerate(names):
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH:
            raise invalid(f"{POINTER}/hooks/{place}", "Use the name of a webhook channel.")
    return tuple(dict.fromkeys(names))
