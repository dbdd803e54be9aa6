"""The walls around a trainer, raised before any library or the trainer's own code is loaded.

They are the intake's (`inference/registry/intake/sandbox.py`), with what a training needs left open: it reads its
data and installed code, writes its own folder and starts threads. It sees no other process, no key, no socket and no
network. It stays the user that runs the worker, who alone may be able to read the code, but without root's powers.
"""

import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from inference.registry.intake import sandbox
from monitors.workflows.trainers.catalogue import SHIPPED
from monitors.workflows.trainers.job import Specification
from monitors.workflows.trainers.report import Walls

CODE_FOLDER = "code"
_SYSTEM = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/etc/localtime",
    "/usr/share/zoneinfo", "/sys/devices/system/cpu", "/sys/fs/cgroup", "/proc/self", "/proc/cpuinfo", "/proc/meminfo",
    "/proc/stat", "/dev/urandom", "/dev/random", "/dev/zero",
)  # fmt: skip


class NotIsolated(Exception):
    """This system has no walls for code that is not ours."""

    code = "trainer_not_isolated"


def raise_walls(specification: Specification, workdir: Path) -> Walls:
    """Raise every wall that this system has; raises NotIsolated where a trainer of others would see too much."""
    network = sandbox.leave_network()  # needs a process without threads
    job = specification.job
    data = [Path(path) for path in (job.data, job.holdout) if path]
    code = list(_gather_code(workdir / CODE_FOLDER))
    files = sandbox.close_file_system(
        readable=[*map(Path, _SYSTEM), *code, *data], writable=[workdir, Path("/dev/null")]
    )
    powers = sandbox.drop_capabilities()
    calls = sandbox.filter_system_calls(allowed=sandbox.FILE_CALLS, threads=True)
    walls = Walls(network=network or calls, files=files, calls=calls, powers=powers)
    is_ours = specification.target in SHIPPED.values()  # and not a model that was made elsewhere
    if not is_ours and not (files and calls):
        raise NotIsolated(
            "This system cannot keep a trainer or a model of others from files, sockets and other processes, so only "
            "the shipped trainers run here; use Linux 5.13 or later with Landlock and seccomp, on x86-64 or ARM64."
        )
    return walls


def _gather_code(folder: Path) -> Iterator[Path]:
    """Yield where installed code lies; that of other folders on the path is found through links in `folder`.

    A folder on the path may hold more than code, such as a checkout with the home in it: only its packages and modules
    are to be read, and a rule for the folder would allow all of it.
    """
    installed = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    yield from installed
    folder.mkdir()
    kept = [str(folder)]
    for entry in map(Path, sys.path):
        if any(entry.is_relative_to(place) for place in installed):
            kept.append(str(entry))
        elif entry.is_dir():
            yield from _link_packages(entry, folder)
    sys.path[:] = kept


def _link_packages(entry: Path, folder: Path) -> Iterator[Path]:
    for found in sorted(entry.iterdir()):
        is_code = found.suffix in (".py", ".so", ".dist-info") or (found / "__init__.py").exists()
        link = folder / found.name
        if is_code and not link.is_symlink():
            link.symlink_to(found)
            yield found.resolve()
