"""The child process: `python -m monitors.definitions.importance.child <order>` with the model on standard input.

Writes one `Answer` (msgpack) to standard output.
"""

import os
import sys

import msgspec

from inference.registry.intake import sandbox
from monitors.definitions.importance.orders import ImportanceOrder, ImportanceRefusal


def main() -> None:
    """Raise the walls, ask the model, answer."""
    report = os.dup(1)
    os.dup2(2, 1)  # ONNX Runtime prints to standard output when it retries
    order = msgspec.json.decode(sys.argv[1], type=ImportanceOrder)
    network_isolated = sandbox.raise_first_walls(order.limits)

    from monitors.definitions.importance import examination

    sandbox.raise_last_walls(order.limits, network_isolated=network_isolated)
    try:
        answer = examination.examine(sys.stdin.buffer.read(), order)
    except MemoryError:
        answer = ImportanceRefusal(
            f"the model needs more than {order.limits.memory_bytes >> 20:,} MiB of memory."
        )
    with open(report, "wb") as output:
        output.write(msgspec.msgpack.encode(answer))
    os._exit(0)  # as in the intake's child: tearing down a hostile session could hang


if __name__ == "__main__":
    main()
