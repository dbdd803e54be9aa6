"""Keeps the folders of this machine out of what callers read."""

import sys
from pathlib import Path

from django.conf import settings

CHECKOUT = Path(__file__).resolve().parents[4]


def without_folders(text: str) -> str:
    """Shorten the paths in a reason to those below the home, the environment or the code.

    Reasons that come from the system or from a traceback hold whole paths; the log keeps those.
    """
    for folder in (settings.HOME, Path(sys.prefix), CHECKOUT):
        text = text.replace(f"{folder}/", "")
    return text
