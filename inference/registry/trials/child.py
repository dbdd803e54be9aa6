"""The child process: `python -m inference.registry.trials.child <order>` with the model on standard input.

Writes one `Outcome` (msgpack) to standard output.
"""

import os
import sys

import msgspec

from inference.registry.intake import sandbox
from inference.registry.trials.orders import OriginalAnswers, Outcome, TrialOrder, Unfit


def main() -> None:
    """Raise the walls, build the variant, ask and time both models, tell."""
    report = os.dup(1)
    os.dup2(2, 1)  # ONNX Runtime prints to standard output when it retries
    order = msgspec.json.decode(sys.argv[1], type=TrialOrder)
    network_isolated = sandbox.raise_first_walls(order.limits)

    from inference.registry.trials import examination

    sandbox.raise_last_walls(order.limits, network_isolated=network_isolated)
    outcome: Outcome | OriginalAnswers
    try:
        outcome = examination.examine(sys.stdin.buffer.read(), order)
    except MemoryError:
        outcome = Unfit("It needs more memory than a trial may use.")
    with open(report, "wb") as output:
        output.write(msgspec.msgpack.encode(outcome))
    os._exit(0)  # as in the intake's child: tearing down a hostile session could hang


if __name__ == "__main__":
    main()
