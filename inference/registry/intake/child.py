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
from inference.registry.intake.report import Findings, IntakeRefusal


def main() -> None:
    """Raise the walls, examine the file, print what was found."""
    report = os.dup(1)
    os.dup2(2, 1)  # ONNX Runtime prints to standard output when it retries
    order = msgspec.json.decode(sys.argv[1], type=Order)
    network_isolated = sandbox.raise_first_walls(order.limits)

    from inference.registry.intake import examination

    facts = sandbox.raise_last_walls(order.limits, network_isolated=network_isolated)
    answer: Findings | IntakeRefusal
    try:
        answer = examination.examine(sys.stdin.buffer.read(), order, facts)
    except IntakeRefused as refused:
        answer = IntakeRefusal(refused.code, refused.status, refused.detail)
    except MemoryError:
        answer = IntakeRefusal("resource_limit", 422, "The model needs more memory than an upload may use.")
    with open(report, "wb") as output:
        output.write(msgspec.json.encode(answer))
    # Nothing is left to clean up, and tearing down a hostile session is one more thing that could hang.
    os._exit(0)


if __name__ == "__main__":
    main()
