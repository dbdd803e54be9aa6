"""The agent and the client are distributions of their own, and run on older Pythons than the server."""

import ast
import tomllib

import pytest

from tests.architecture.sources import CHECKOUT


@pytest.mark.parametrize("package", ["driftline_agent", "driftline_client"])
def test_is_read_by_the_oldest_python_that_it_says(package: str) -> None:
    folder = CHECKOUT / "platform" / package
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    major, minor = project["project"]["requires-python"].removeprefix(">=").split(".")
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"].get("force-include", {})

    for file in [*folder.rglob("*.py"), *(folder / name for name in included)]:
        ast.parse(file.read_text(), str(file), feature_version=(int(major), int(minor)))
