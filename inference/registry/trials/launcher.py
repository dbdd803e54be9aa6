"""Start a trial's child and read how it ended."""

import tempfile
from pathlib import Path

import msgspec
from msgspec import structs

from driftline.base.errors import UNREADABLE
from inference.registry.intake.limits import MIB, IntakeLimits
from inference.registry.intake.process import run_child
from inference.registry.trials.orders import (
    LIMITS,
    ORIGINAL,
    Array,
    OriginalAnswers,
    Outcome,
    Packed,
    Questions,
    Trial,
    TrialOrder,
    Unfit,
    unpack,
)

_SECONDS_EACH_16_MIB = 4


def try_variant(
    path: Path, kind: str, questions: Questions, outputs: list[str], *, limits: IntakeLimits = LIMITS
) -> Outcome:
    """Build the variant `kind` of the model at `path`, and compare both on rows; takes `limits.wall_s` at most.

    The answers of these `outputs` are compared. Raises FileNotFoundError where the model's file does not exist.
    """
    outcome = _run(path, kind, questions, outputs, limits)
    return Unfit("No variant was wanted.") if isinstance(outcome, OriginalAnswers) else outcome


def ask_original(path: Path, rows: dict[str, Packed], outputs: list[str]) -> dict[str, Array] | str:
    """Ask the model at `path` rows by input, and return its answers by output, or a sentence why there are none.

    Raises FileNotFoundError where the model's file does not exist.
    """
    outcome = _run(path, ORIGINAL, Questions({}, rows, is_made_up=False), outputs, LIMITS)
    if isinstance(outcome, OriginalAnswers):
        return {name: unpack(values) for name, values in outcome.by_output.items()}
    return "It gives no answer." if isinstance(outcome, Trial) else outcome.reason


def _run(
    path: Path, kind: str, questions: Questions, outputs: list[str], limits: IntakeLimits
) -> Outcome | OriginalAnswers:
    with path.open("rb") as model, tempfile.TemporaryFile() as file:
        file.write(msgspec.msgpack.encode(questions))
        file.seek(0)
        allowed = _limits_for(path.stat().st_size, limits)
        order = TrialOrder(kind, outputs, file.fileno(), allowed)
        ending = run_child(
            "inference.registry.trials.child",
            msgspec.json.encode(order).decode(),
            stdin=model,
            handles=[file.fileno()],
            limits=allowed,
        )
    if ending.hit_a_limit:
        return Unfit(
            f"It used more than a trial may: {allowed.load_cpu_s} s of CPU time to build, {allowed.run_cpu_s} s to "
            f"run, {allowed.memory_bytes >> 20:,} MiB of memory, {allowed.wall_s:g} s in all."
        )
    try:
        return msgspec.msgpack.decode(ending.answer, type=Outcome | OriginalAnswers)
    except UNREADABLE:  # of a child that died before it told, too
        return Unfit("It broke the process that tried it.")


def _limits_for(size: int, limits: IntakeLimits) -> IntakeLimits:
    """Allow a larger file more time to be built, and the room to be handed back."""
    more_s = size // (16 * MIB) * _SECONDS_EACH_16_MIB
    return structs.replace(
        limits, load_cpu_s=limits.load_cpu_s + more_s, report_bytes=limits.report_bytes + 2 * size
    )
