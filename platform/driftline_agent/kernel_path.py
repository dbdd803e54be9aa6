"""Where the code is that adds up rows and measures images: that of the server, which the wheel holds."""

import sys
from pathlib import Path
from types import ModuleType

_PACKAGES = ("inference", "monitors")


def add_kernel_path() -> None:
    """Make Python find `monitors.stats.mergeable` and `inference.images`, where Driftline itself is not installed.

    They are ours also where another package of such a name is installed.
    """
    folder = Path(__file__).with_name("kernels")
    if not folder.exists():
        return
    for name in _PACKAGES:
        package = ModuleType(name)
        package.__path__ = [str(folder / name)]
        sys.modules.setdefault(name, package)
