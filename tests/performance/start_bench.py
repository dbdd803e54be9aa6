"""How long an installation takes to start and to stop, and how much memory it has idle (PSS: shared pages count once).

    python -m tests.performance.start_bench [--idle-seconds 60]

It starts with an empty home, stops, starts again, stays idle, and stops.
"""

import argparse
import re
import tempfile
import time
from pathlib import Path

from tests.flows.installation.running import Installation
from tests.ports import free_port

MB = 1024  # kB


def pss(pid: int) -> float:
    """Return a process's share of the memory that it has, in MB; 0 where it has ended."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)
    return int(found[1]) / MB if found else 0.0


def seconds_to_stop(installation: Installation) -> float:
    started = time.monotonic()
    installation.stop()
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--idle-seconds", type=float, default=60.0, help="before its memory is read (default 60)"
    )
    idle_seconds = parser.parse_args().idle_seconds
    with tempfile.TemporaryDirectory() as folder:
        installation = Installation(Path(folder) / "home", free_port(), start_seconds=600.0)
        print(f"first start  {installation.start():6.1f} s")
        print(f"stop         {seconds_to_stop(installation):6.1f} s")
        print(f"second start {installation.start():6.1f} s")
        time.sleep(idle_seconds)
        shares = sorted(((pss(one.pid), one.command[:60]) for one in installation.processes()), reverse=True)
        print(f"stop         {seconds_to_stop(installation):6.1f} s")
    for share, command in shares:
        print(f"{share:8.0f} MB  {command}")
    print(f"{sum(share for share, _ in shares):8.0f} MB  in {len(shares)} processes")


if __name__ == "__main__":
    main()
