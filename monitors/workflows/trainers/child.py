"""The training subprocess: `python -m monitors.workflows.trainers.child SPEC.json`.

Works in its own folder, which the launcher made, with no credentials in its environment, behind walls that stand
before any library or trainer is loaded. Writes the model, its report, its upload metadata and its reference; on
failure it exits with 1 and its last line says why.
"""

import resource
import sys
from pathlib import Path

import msgspec

from driftline.base.processes.parent_death import die_with_parent
from driftline.base.processes.priority import lower_priority
from monitors.workflows.trainers.job import Limits, Specification
from monitors.workflows.trainers.walls import NotIsolated, raise_walls

NICENESS = 10


def main(path: str) -> int:
    specification = msgspec.json.decode(Path(path).read_bytes(), type=Specification)
    apply_limits(specification.limits)
    try:
        walls = raise_walls(specification, Path.cwd())
    except NotIsolated as error:
        return explain(error)
    die_with_parent(specification.parent)  # after the walls: a change of namespace clears it

    from monitors.workflows.trainers import execution

    try:
        work = execution.train if specification.target else execution.evaluate
        work(specification, Path.cwd(), walls)
    except execution.EXPLAINED as error:
        return explain(error)
    return 0


def explain(error: Exception) -> int:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return 1


def apply_limits(limits: Limits) -> None:
    lower_priority(NICENESS, session=True)
    for name, amount in {
        resource.RLIMIT_AS: limits.memory_mb << 20,
        resource.RLIMIT_CPU: limits.cpu_seconds,
        resource.RLIMIT_FSIZE: limits.file_mb << 20,
        resource.RLIMIT_CORE: 0,
    }.items():
        resource.setrlimit(name, (amount, amount))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
