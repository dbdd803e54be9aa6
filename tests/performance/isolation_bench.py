"""What `isolation: process` costs a request: `python -m tests.performance.isolation_bench [--json PATH]`.

The same server with the same model answers the same V2 bytes twice: with the model in the serving process, and with
it in a process of its own behind shared memory. Rounds alternate, so that noise falls on both alike. Printed are the
difference of the median latency with one connection, of the processor time a request with 32 (all processes of the
server together), and the memory of a version's process: its own, and its share of what processes have in common.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from inference.serving.plan import NONE, PROCESS
from tests.performance.contenders import Contender, build_model, start_driftline, write_questions
from tests.performance.load_client import Load
from tests.performance.rounds import Spread, measure, show, spread, summarise, text

CONNECTIONS = (1, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    model, rows = build_model()
    questions = write_questions(model, rows)
    settings = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        contenders = [
            start_driftline(stack, Path(folder) / kind, model, name=kind, isolation=kind)
            for kind in (PROCESS, NONE)
        ]
        for connections in CONNECTIONS:
            loads = measure(
                dict.fromkeys(contenders, questions), connections, options.rounds, options.seconds
            )
            summary = summarise(loads, ours=PROCESS)
            costs = cost_us(loads[PROCESS], loads[NONE])
            settings.append({"connections": connections, "cost_us": costs, **summary})
            show(f"single-row V2 JSON, {connections} connection(s), closed loop", summary)
            show_cost(connections, costs)
        memory = memory_of_models(contenders[0])
    print(
        f"memory of a version's process: {memory['own_mb']:.1f} MB its own, {memory['share_mb']:.1f} MB with its share"
    )
    if options.json:
        numbers = {"settings": settings, "memory": memory}
        options.json.write_text(json.dumps({"isolation": numbers}, indent=2))


def cost_us(isolated: Sequence[Load], inside: Sequence[Load]) -> dict[str, Spread]:
    """Tell how much more a request takes, paired within rounds, in microseconds."""
    pairs = list(zip(isolated, inside, strict=True))
    return {
        "p50_ms": spread([1000 * (a.quantile_ms(0.5) - b.quantile_ms(0.5)) for a, b in pairs]),
        "server_cpu_us": spread([a.server_cpu_us - b.server_cpu_us for a, b in pairs]),
    }


def show_cost(connections: int, costs: dict[str, Spread]) -> None:
    print(
        f"isolation: process costs {text(costs['p50_ms'], 0)} us of median latency and "
        f"{text(costs['server_cpu_us'], 0)} us of processor time a request with {connections} connection(s)",
        flush=True,
    )


def memory_of_models(contender: Contender) -> dict[str, float]:
    """Measure the processes of versions: memory that each alone holds, and with its share of what others hold too."""
    own, share = [], []
    for entry in Path("/proc").glob("[0-9]*/comm"):
        if entry.read_text().strip() == "driftline-model" and is_below(int(entry.parent.name), contender.pid):
            fields = dict(
                line.split(":", 1) for line in entry.with_name("smaps_rollup").read_text().splitlines()[1:]
            )
            sizes: dict[str, Any] = {name: int(value.split()[0]) / 1024 for name, value in fields.items()}
            own.append(sizes["Private_Clean"] + sizes["Private_Dirty"])
            share.append(sizes["Pss"])
    return {"own_mb": sum(own) / len(own), "share_mb": sum(share) / len(share)}


def is_below(pid: int, ancestor: int) -> bool:
    while pid > 1 and pid != ancestor:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid == ancestor and pid != os.getpid()


if __name__ == "__main__":
    main()
