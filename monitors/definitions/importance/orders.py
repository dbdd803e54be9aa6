"""What the measuring of importance is ordered with, and what it ends with."""

from msgspec import Struct

from inference.registry.intake.limits import IntakeLimits
from inference.registry.trials.orders import Packed
from inference.signatures import Signature

LIMITS = IntakeLimits(load_cpu_s=40, run_cpu_s=120, wall_s=150.0)
"""Of one measurement: to load, then to be asked each feature's shuffled values."""
BUDGET_SECONDS = 60.0
"""A model so slow that all rows would take longer is asked fewer."""
MIN_ROWS = 100


class RowSample(Struct, frozen=True):
    """The version's signature and rows by feature; texts may be missing (None), numbers that are missing are NaN."""

    signature: Signature
    numbers: dict[str, Packed]
    texts: dict[str, list[str | None]]
    names: list[str]
    """In the order of the columns."""


class ImportanceOrder(Struct, frozen=True):
    """What the launcher asks of the child; `sample_handle` is an open file of a `Sample` (msgpack)."""

    sha256: str
    sample_handle: int
    limits: IntakeLimits


class Importance(Struct, frozen=True, tag="importance"):
    """How much the answers change when one feature's values are shuffled, by feature."""

    by_feature: dict[str, float]


class ImportanceRefusal(Struct, frozen=True, tag="refusal"):
    """The model cannot be asked; `reason` is a sentence."""

    reason: str


Answer = Importance | ImportanceRefusal
