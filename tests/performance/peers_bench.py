"""Products beside ours: `python -m tests.performance.peers_bench [--json PATH]`, which `make bench-peers` runs.

MLServer, LitServe, TorchServe and Triton, each in an environment of its own that `peers/install` makes, one worker
each, with the same model, load and checked answers. None has a runtime for ONNX that a package brings: all run ONNX
Runtime, with one thread, in the way each has for a model of one's own. Triton is the real server (2.51) out of
`nvidia-pytriton`, which carries its Python backend alone; its C++ backend for ONNX comes only in a container and may
well be faster. With one connection no peer waits for a batch to fill: there is none to wait for. What cannot be
installed or started here is named and left out.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.performance.contenders import (
    Contender,
    build_model,
    start_driftline,
    start_peer,
    write_questions,
)
from tests.performance.load_client import WrongAnswer, run_load
from tests.performance.peer_servers import PEERS, Environment, started
from tests.performance.rounds import measure, show, summarise

WARM_SECONDS = 4.0  # a Java server compiles itself meanwhile


def bench_peer(
    name: str, model: bytes, rows: Any, beside: Sequence[Contender], options: argparse.Namespace
) -> dict[str, Any]:
    """Measure one peer in turn with those that run already, at each number of connections."""
    package, prepare = PEERS[name]
    own = Environment(name)
    own.install(name)
    results = []
    for connections in (32, 1):
        with tempfile.TemporaryDirectory() as folder:
            launch = prepare(own, Path(folder), model, batching=connections > 1)
            with started(launch, Path(folder)) as pid:
                peer = Contender(name, launch.port, pid)
                asked = dict.fromkeys(beside, write_questions(model, rows))
                asked[peer] = write_questions(model, rows, path=launch.path)
                run_load(peer.port, asked[peer], 32, WARM_SECONDS)
                loads = measure(asked, connections, options.rounds, options.seconds)
        summary = {"connections": connections, **summarise(loads)}
        results.append(summary)
        show(f"{package} {own.version(package)}, {connections} connection(s), closed loop", summary)
    return {"version": own.version(package), "settings": results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    options = parser.parse_args()
    model, rows = build_model()
    results: dict[str, Any] = {"measured": {}, "left_out": {}}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        beside = [
            start_driftline(stack, Path(folder), model),
            start_peer(stack, "fastapi", Path(folder) / "model.onnx"),
        ]
        for name in options.peers:
            try:
                results["measured"][name] = bench_peer(name, model, rows, beside, options)
            except (RuntimeError, OSError, WrongAnswer, subprocess.CalledProcessError) as error:
                reason = f"{error} {getattr(error, 'stderr', None) or ''}".strip()
                results["left_out"][name] = reason
                print(f"\n{name} is left out: {reason}", file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps({"peers": results}, indent=2))


if __name__ == "__main__":
    main()
