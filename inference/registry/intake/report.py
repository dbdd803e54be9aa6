"""What the child tells its launcher, and what the launcher tells the registry."""

from typing import Literal

from msgspec import Struct

from inference.signatures import Signature, TensorSpec

Fill = Literal["typical", "missing", "unseen"]
"""Made-up rows: zeros and a known category; NaN in every float; a category the model never saw."""


class SandboxFacts(Struct, frozen=True):
    """What this system let the child give up. `False` means the rlimits still held, but not this wall."""

    network_isolated: bool
    files_isolated: bool
    root_dropped: bool
    calls_filtered: bool
    memory_bytes: int
    load_cpu_s: int
    run_cpu_s: int


class GraphFacts(Struct, frozen=True):
    """What the file says of itself."""

    ir_version: int
    opsets: dict[str, int]
    producer: str
    producer_version: str
    description: str
    node_count: int
    initializer_bytes: int
    ops: dict[str, int]
    class_labels: dict[str, list[str]]
    """Output name -> class labels that feed it, in the order of the probability columns."""
    value_costs: bool = False
    """Whether the cost of a run depends on the values of its input: see value_costs.py."""


class DryRun(Struct, frozen=True):
    """One run on made-up rows; `error` is ONNX Runtime's reason where it failed."""

    rows: int
    fill: Fill
    milliseconds: float
    error: str | None = None


class ObservedOutput(Struct, frozen=True):
    """What an output looked like on three typical rows."""

    shape: list[int]
    finite: bool
    sums_to_one: bool


class OutputOnReference(Struct, frozen=True):
    """What an output looked like on the reference's rows.

    `least` and `greatest` are of its finite numbers; None where it has none, as texts.
    """

    finite_share: float
    least: float | None
    greatest: float | None
    constant: bool


class ReferenceRun(Struct, frozen=True):
    """A run on rows of the model's reference; `error` is ONNX Runtime's reason where it failed."""

    rows: int
    milliseconds: float
    error: str | None
    outputs: dict[str, OutputOnReference]


class Findings(Struct, frozen=True, tag="findings"):
    """The child's answer for a model that loads and runs."""

    graph: GraphFacts
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    dry_runs: list[DryRun]
    observed: dict[str, ObservedOutput]
    sandbox: SandboxFacts
    reference: ReferenceRun | None = None

    @property
    def class_labels(self) -> dict[str, list[str]]:
        """Class labels by the output that they feed, as the graph names them."""
        return self.graph.class_labels


class IntakeRefusal(Struct, frozen=True, tag="refusal"):
    """The child's answer for a file it turned away."""

    code: str
    status: int
    detail: str


class IntakeReport(Struct, frozen=True):
    """A passed intake: the bytes with this sha256 may be served with this signature."""

    sha256: str
    size_bytes: int
    opset: int
    ir_version: int
    producer: str
    description: str
    node_count: int
    initializer_bytes: int
    ops: dict[str, int]
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    signature: Signature
    dry_runs: list[DryRun]
    reference: ReferenceRun | None
    """None where the model had no reference yet, or one without the columns that this version takes."""
    warnings: list[str]
    sandbox: SandboxFacts
    duration_ms: float
    reference_sha256: str | None = None
    """SHA-256 of the reference that the version was given, whether it could take its rows or not."""
    value_costs: bool = False
    """Whether the cost of a run depends on the values of its input; such runs never happen in the event loop."""
