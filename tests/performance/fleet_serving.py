"""A serving process with a fleet in its plan: what it takes to start, to change one model, and in memory.

`python -m tests.performance.fleet_serving [--models 1000 --features 100]`; `fleet_bench` runs it too.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from inference.protocol.v2.open_inference import OPEN_INFERENCE
from inference.serving.callers import InferenceCaller
from inference.serving.plan import PLAN_FILE, PlanModel
from inference.serving.plan_watcher import PlanWatcher
from inference.serving.refusals import Refusal
from inference.serving.routing import RoutingTable
from tests.inference.onnx_models import classifier_signature, constant_classifier, store
from tests.inference.serving.running import publish, token
from tests.performance.memory_bench import resident_mib


def measure_here(home: Path, models: int, features: int) -> dict[str, str]:
    """Load a plan of so many models, each with a file of its own, then replace the champion of one of them."""
    plan = [_model(home, number, 0.5, features) for number in range(1, models + 1)]
    tokens = [token("dl_infer")]
    publish(home, plan, tokens, 1)
    tables: list[RoutingTable] = []
    watcher = PlanWatcher(home, tables.append)
    idle = resident_mib()
    start = _seconds(watcher.settle)
    full = resident_mib()
    publish(home, [_model(home, 1, 0.25, features), *plan[1:]], tokens, 2)
    change = _seconds(watcher.settle)
    found = [
        tables[-1].admit(
            OPEN_INFERENCE, InferenceCaller(b"Bearer dl_infer"), b"/v2/models/model-%d/infer" % number
        )
        for number in range(1, models + 1)
    ]
    if any(isinstance(admission, Refusal) for admission in found) or tables[-1].generation != 2:
        raise AssertionError("Some models are not served.")
    return {
        "plan file": f"{(home / PLAN_FILE).stat().st_size / 1e6:,.1f} MB",
        "to load all models": f"{start:.1f} s of processor time",
        "to take up the change of one model": f"{change * 1e3:,.0f} ms of processor time",
        "memory": f"{idle:,.0f} MiB without and {full:,.0f} MiB with all models",
    }


def _model(home: Path, number: int, probability: float, features: int) -> PlanModel:
    own = constant_classifier(probability + number / 1e5, features)
    version = store(
        home, own, classifier_signature(features), id=round(number + probability * 1e6), version="1"
    )
    return PlanModel(number, 1, f"model-{number}", 1, "1", [], [version])


def _seconds(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(models: int, features: int) -> dict[str, str]:
    """Measure in a process of its own, which holds nothing else."""
    with tempfile.TemporaryDirectory(prefix="driftline-bench-") as folder:
        command = [sys.executable, "-m", "tests.performance.fleet_serving", "--home", folder]
        command += ["--models", str(models), "--features", str(features)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise AssertionError(result.stderr)
    told: dict[str, str] = json.loads(result.stdout)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=1_000)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--home", type=Path, help="work here, and print the numbers as JSON")
    options = parser.parse_args()
    if options.home is not None:
        print(json.dumps(measure_here(options.home, options.models, options.features)))
        return
    for name, told in measure(options.models, options.features).items():
        print(f"{name:<40}{told}")


if __name__ == "__main__":
    main()
