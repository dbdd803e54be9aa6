"""Makes an extra look as if its packages were not installed."""

import sys

import pytest

from driftline.base.extras import Extra


def hide(monkeypatch: pytest.MonkeyPatch, extra: Extra) -> None:
    """Let nothing import the packages of an extra for the rest of a test."""
    for module in extra.modules:
        monkeypatch.setitem(sys.modules, module, None)
