"""The child process: `python -m inference.registry.intake.child <order>` with the file on standard input.

Writes one JSON document, `Findings` or `Refusal`, to standard output. The heavy imports come after the first walls
and before the last ones.
"""

import os
import sys

import msgspec

from inference.registry.intake import sandbox
from inference.registry.intake.errors import IntakeRefused
from inference.registry.intake.limits import Order
from inference.registry.intake.report import Findings, Refusal, SandboxFacts


def main() -> None:
    """Raise the walls, examine the file, print what was found."""
    report = os.dup(1)
    os.dup2(2, 1)  # ONNX Runtime prints to standard output when it retries
    order = msgspec.json.decode(sys.argv[1], type=Order)
    sandbox.limit_resources(order.limits)
    network_isolated = sandbox.leave_network()

    from inference.registry.intake import examination

    files_isolated = sandbox.close_file_system()
    root_dropped = sandbox.drop_root()
    sandbox.forbid_processes()
    facts = SandboxFacts(
        network_isolated=network_isolated,
        files_isolated=files_isolated,
        root_dropped=root_dropped,
        memory_bytes=order.limits.memory_bytes,
        load_cpu_s=order.limits.load_cpu_s,
        run_cpu_s=order.limits.run_cpu_s,
    )
    answer: Findings | Refusal
    try:
        answer = examination.examine(sys.stdin.buffer.read(), order.limits, order.columns, facts)
    except IntakeRefused as refused:
        answer = Refusal(refused.code, refused.status, refused.detail)
    except MemoryError:
        answer = Refusal("resource_limit", 422, "The model needs more memory than an upload may use.")
    with open(report, "wb") as output:
        output.write(msgspec.json.encode(answer))
    # Nothing is left to clean up, and tearing down a hostile session is one more thing that could hang.
    os._exit(0)


if __name__ == "__main__":
    main()
