"""Tests that need what `.ci/setup dev` installs beside what `make test` does."""

from importlib.util import find_spec

import pytest

HAS_TOOLS = all(map(find_spec, ["importlinter", "kubernetes_validate", "mypy", "playwright"]))
needs_tools = pytest.mark.skipif(not HAS_TOOLS, reason="the tools of `.ci/setup dev` are not installed")
