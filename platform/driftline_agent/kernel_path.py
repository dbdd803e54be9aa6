"""Where the code is that adds up rows: that of the server's log, which the wheel holds under its own name."""

import sys
from pathlib import Path


def add_kernel_path() -> None:
    """Let Python find `monitors.stats.mergeable`, where Driftline itself is not installed."""
    path = str(Path(__file__).with_name("kernels"))
    if path not in sys.path:
        sys.path.append(path)
